"""One object describes a run; another says where things are."""
