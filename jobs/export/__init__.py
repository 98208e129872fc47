"""Everything of an organization in one ZIP, made while it is sent."""
