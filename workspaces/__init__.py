"""Where: workspaces with a key each, and the stored bytes in them."""
