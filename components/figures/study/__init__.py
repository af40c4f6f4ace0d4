"""Pages, pictures and tables of a study, and the lesson that is made of one."""
