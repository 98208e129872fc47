"""Single sign-on: an organization's members prove who they are to its identity provider.

`providers` opens what is configured, `oidc` and `saml` speak with the provider and end in `Claims`,
`services.admission` decides whom they let in where, `views` are the addresses in between.
"""
