import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { ServerSlug, WorkloadName } from "@valetkey/domain/Server"
import { Effect, Redacted } from "effect"
import { createPrivateKey } from "node:crypto"

/** What a scenario tells its client besides the URL. */
const context = JSON.parse(process.env["MCP_CONFORMANCE_CONTEXT"] ?? "{}") as Readonly<Record<string, string>>

const name = process.env["MCP_CONFORMANCE_SCENARIO"] ?? ""

/** The token by which the platform of the scenario says who runs on it. */
export const workloadToken = context["valid_jwt"] ?? ""

/** Describes the scenario's server, as an operator would who was told what the client is told. */
export const describe = Effect.fnUntraced(function*(resource: string) {
  const valetkey = yield* ValetkeyClient
  yield* valetkey.putServer("mcp", { resource, ...client(), ...(yield* grant) })
})

/** A client that was registered by hand. */
const client = () => {
  const { client_id: clientId, client_secret: clientSecret, private_key_pem: pem, signing_algorithm: alg } = context
  if (clientId === undefined) return {}
  if (pem !== undefined) {
    const key = JSON.stringify({ ...createPrivateKey(pem).export({ format: "jwk" }), alg })
    return { client: { clientId, authMethod: "private_key_jwt" as const, clientSecret: Redacted.make(key) } }
  }
  return {
    client: clientSecret === undefined
      ? { clientId, authMethod: "none" as const }
      : { clientId, authMethod: "client_secret_basic" as const, clientSecret: Redacted.make(clientSecret) }
  }
}

/** How tokens are obtained where the scenario has nobody to ask. */
const grant = Effect.gen(function*() {
  switch (name) {
    case "auth/client-credentials-basic":
    case "auth/client-credentials-jwt":
      return { grant: { type: "client_credentials" as const } }
    case "auth/wif-jwt-bearer":
      return { grant: { type: "workload_assertion" as const, workload: WorkloadName.make("platform") } }
    case "auth/enterprise-managed-authorization":
      yield* signIn
      return { grant: { type: "identity_assertion" as const, identity: ServerSlug.make("idp") } }
    default:
      return {}
  }
})

/** The person's sign-in at the identity provider, which took place before the scenario: it gives no more than the ID token. */
const signIn = Effect.gen(function*() {
  const valetkey = yield* ValetkeyClient
  const { idp_client_id = "", idp_id_token = "", idp_issuer = "", idp_token_endpoint = "" } = context
  yield* valetkey.putServer("idp", { resource: idp_issuer, issuer: idp_issuer, scopes: ["openid"], tokens: "identity" })
  yield* valetkey.deposit("idp", {
    issuer: idp_issuer,
    tokenEndpoint: idp_token_endpoint,
    clientId: idp_client_id,
    accessToken: Redacted.make(idp_id_token),
    refreshToken: Redacted.make("none was issued")
  })
})
