"""Models and how pictures come out of them. Torch and diffusers are imported from here up only."""
