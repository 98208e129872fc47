"""Django's PostgreSQL backend, which tells the database the scope of every statement."""
