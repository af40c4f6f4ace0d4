"""Recipes: functions that return a whole experiment. A variant calls another and changes what differs."""
