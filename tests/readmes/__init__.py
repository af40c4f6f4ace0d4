"""READMEs as data: the commands that they show, and the tables that are made from results."""
