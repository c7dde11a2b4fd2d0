import type { OidcProvider } from "@valetkey/testing/OidcProvider"
import { Effect, Redacted } from "effect"

/** Whether the provider itself takes a token for valid, asked as a resource server does (RFC 7662 §2.1). */
export const isActive = (provider: OidcProvider, token: Redacted.Redacted): Effect.Effect<boolean> =>
  Effect.promise(async () => {
    const { clientId, clientSecret } = provider.introspection
    const response = await fetch(`${provider.issuer}/token/introspection`, {
      method: "POST",
      headers: {
        authorization: `Basic ${Buffer.from(`${clientId}:${Redacted.value(clientSecret)}`).toString("base64")}`
      },
      body: new URLSearchParams({ token: Redacted.value(token) })
    })
    return (await response.json() as { readonly active: boolean }).active
  })
