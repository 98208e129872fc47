"""What every room of the web side stands on: errors, ids, scopes, keys, the store, the outbox."""
