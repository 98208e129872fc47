"""What the web side and the agents agree on: recipes, messages, manifests, sealing. Pure."""
