"""The whole product as processes: started as a person starts it, and broken on purpose."""
