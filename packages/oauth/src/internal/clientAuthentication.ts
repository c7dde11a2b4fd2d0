import type { TokenEndpointAuthMethod } from "@valetkey/domain/Server"
import { Redacted } from "effect"
import { type ClientAuth, ClientSecretBasic, ClientSecretPost, None } from "oauth4webapi"

/** How a client proves itself (RFC 6749 §2.3); undefined when its method needs a secret and there is none. */
export const clientAuthentication = (
  method: TokenEndpointAuthMethod,
  clientSecret: Redacted.Redacted | undefined
): ClientAuth | undefined => {
  if (method === "none") return None()
  if (clientSecret === undefined || Redacted.value(clientSecret) === "") return undefined
  return method === "client_secret_basic"
    ? ClientSecretBasic(Redacted.value(clientSecret))
    : ClientSecretPost(Redacted.value(clientSecret))
}
