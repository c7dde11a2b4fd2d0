import type { TokenEndpointAuthMethod } from "@valetkey/domain/Server"
import { Redacted } from "effect"
import { type ClientAuth, ClientSecretPost, None } from "oauth4webapi"

/** How a client proves itself (RFC 6749 §2.3); undefined when its method needs a secret and there is none. */
export const clientAuthentication = (
  method: TokenEndpointAuthMethod,
  clientSecret: Redacted.Redacted | undefined
): ClientAuth | undefined => {
  if (method === "none") return None()
  if (clientSecret === undefined || Redacted.value(clientSecret) === "") return undefined
  return method === "client_secret_basic"
    ? basic(clientSecret)
    : ClientSecretPost(Redacted.value(clientSecret))
}

/**
 * HTTP Basic with id and secret form-encoded first, as the form encoding of today writes them (RFC 6749 §2.3.1, WHATWG
 * URL §5.2): `-`, `.`, `_` and `*` stay as they are, and so a server that forgets to decode reads most ids right too.
 */
const basic = (clientSecret: Redacted.Redacted): ClientAuth => (_as, client, _body, headers) => {
  const credentials = [client.client_id, Redacted.value(clientSecret)].map(formEncoded).join(":")
  headers.set("authorization", `Basic ${Buffer.from(credentials).toString("base64")}`)
}

const formEncoded = (text: string): string => new URLSearchParams([["", text]]).toString().slice(1)
