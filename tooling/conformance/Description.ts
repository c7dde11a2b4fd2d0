import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { ServerSlug, WorkloadName } from "@valetkey/domain/Server"
import { Effect, Redacted } from "effect"
import { createPrivateKey, randomUUID } from "node:crypto"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { context, name } from "./Scenario.ts"

/** Where the platform of the scenarios keeps the token by which it says who runs on it. */
export const workloadFile = (home: string): string => join(home, "workload.jwt")

/** Describes the scenario's server under a name of its own, as an operator would who was told what the client is told. */
export const describe = Effect.fnUntraced(function*(resource: string) {
  const valetkey = yield* ValetkeyClient
  const server = ServerSlug.make(`mcp-${randomUUID()}`)
  yield* valetkey.putServer(server, { resource, ...client(), ...(yield* grantOf(ServerSlug.make(`${server}-idp`))) })
  return server
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
const grantOf = Effect.fnUntraced(function*(identity: ServerSlug) {
  switch (name) {
    case "auth/client-credentials-basic":
    case "auth/client-credentials-jwt":
      return { grant: { type: "client_credentials" as const } }
    case "auth/wif-jwt-bearer":
      yield* Effect.sync(() =>
        writeFileSync(workloadFile(process.env["VALETKEY_HOME"] ?? ""), context["valid_jwt"] ?? "")
      )
      return { grant: { type: "workload_assertion" as const, workload: WorkloadName.make("platform") } }
    case "auth/enterprise-managed-authorization":
    case "auth/cross-app-access-complete-flow":
      yield* signIn(identity)
      return { grant: { type: "identity_assertion" as const, identity } }
    default:
      return {}
  }
})

/** The person's sign-in at the identity provider, which took place before the scenario: it gives no more than the ID token. */
const signIn = Effect.fnUntraced(function*(idp: ServerSlug) {
  const valetkey = yield* ValetkeyClient
  const { idp_client_id = "", idp_id_token = "", idp_issuer = "", idp_token_endpoint = "" } = context
  yield* valetkey.putServer(idp, { resource: idp_issuer, issuer: idp_issuer, scopes: ["openid"], tokens: "identity" })
  yield* valetkey.deposit(idp, {
    issuer: idp_issuer,
    tokenEndpoint: idp_token_endpoint,
    clientId: idp_client_id,
    accessToken: Redacted.make(idp_id_token),
    refreshToken: Redacted.make("none was issued")
  })
})
