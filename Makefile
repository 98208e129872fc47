.PHONY: up test

up:
	@python3 -m launcher up

test:
	@python3 -m launcher test
