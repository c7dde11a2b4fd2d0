import type { OidcProvider } from "@valetkey/testing/OidcProvider"
import { Effect, Redacted, type Scope } from "effect"
import { createHash, createPublicKey, type JsonWebKey, randomUUID, verify } from "node:crypto"
import { createServer, type IncomingMessage, type Server } from "node:http"
import type { AddressInfo } from "node:net"

/** A resource that takes tokens with proofs of possession alone, and what it saw. */
export interface BoundResource {
  readonly url: string
  /** What each request was answered with, in order: `ok`, or why it was refused. */
  readonly outcomes: ReadonlyArray<string>
  /** Wants another nonce from now on. */
  readonly renew: Effect.Effect<void>
}

/**
 * Starts a resource on 127.0.0.1 until the scope closes. It asks the provider whose a token is, and checks each proof as
 * RFC 9449 §4.3 says; with `nonce` it wants its own in it (§9).
 */
export const make = (
  provider: OidcProvider,
  options: { readonly nonce?: boolean } = {}
): Effect.Effect<BoundResource, never, Scope.Scope> =>
  Effect.gen(function*() {
    const seen = new Set<string>()
    const outcomes: Array<string> = []
    let nonce = options.nonce === true ? randomUUID() : undefined
    const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/api`

    const boundTo = async (token: string): Promise<string | undefined> => {
      const { clientId, clientSecret } = provider.introspection
      const answer = await fetch(`${provider.issuer}/token/introspection`, {
        method: "POST",
        headers: {
          authorization: `Basic ${Buffer.from(`${clientId}:${Redacted.value(clientSecret)}`).toString("base64")}`
        },
        body: new URLSearchParams({ token })
      })
      const { active, cnf } = await answer.json() as { active: boolean; cnf?: { jkt?: string } }
      return active ? cnf?.jkt : undefined
    }

    const judge = async ({ headers, method, url: path = "" }: IncomingMessage): Promise<string> => {
      const [scheme, token = ""] = (headers.authorization ?? "").split(" ")
      if (scheme === "") return "unauthorized"
      if (scheme !== "DPoP") return "scheme"
      const [head = "", body = "", signature = ""] = String(headers["dpop"]).split(".")
      const read = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>
      const { jwk, typ } = read(head) as { typ: string; jwk: JsonWebKey }
      const key = createPublicKey({ key: jwk, format: "jwk" })
      const signed = { key, dsaEncoding: "ieee-p1363" } as const
      if (typ !== "dpop+jwt" || "d" in jwk) return "header"
      if (
        !verify("sha256", Buffer.from(`${head}.${body}`), signed, Buffer.from(signature, "base64url"))
      ) return "signature"
      const claims = read(body)
      if (claims["htm"] !== method || claims["htu"] !== new URL(path, url()).href.split("?")[0]) return "request"
      if (claims["ath"] !== createHash("sha256").update(token).digest("base64url")) return "token"
      const { crv, kty, x, y } = jwk
      const thumbprint = createHash("sha256").update(JSON.stringify({ crv, kty, x, y })).digest("base64url")
      if ((await boundTo(token)) !== thumbprint) return "binding"
      if (nonce !== undefined && claims["nonce"] !== nonce) return "use_dpop_nonce"
      if (seen.has(String(claims["jti"]))) return "replay"
      seen.add(String(claims["jti"]))
      return "ok"
    }

    const server: Server = createServer((request, response) => {
      request.resume()
      if (request.url?.startsWith("/.well-known/oauth-protected-resource") === true) {
        return void response.setHeader("content-type", "application/json").end(
          JSON.stringify({ resource: url(), authorization_servers: [provider.issuer], scopes_supported: ["mcp:read"] })
        )
      }
      void judge(request).catch(() => "malformed").then((outcome) => {
        outcomes.push(outcome)
        if (outcome === "ok") return void response.end("hello")
        const error = outcome === "use_dpop_nonce" ? outcome : "invalid_token"
        response.writeHead(401, {
          "www-authenticate": outcome === "unauthorized" ? "DPoP algs=\"ES256\"" : `Bearer, DPoP error="${error}"`,
          ...(nonce === undefined ? {} : { "dpop-nonce": nonce })
        }).end()
      })
    })
    yield* Effect.acquireRelease(
      Effect.callback<Server>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))),
      () =>
        Effect.sync(() => {
          server.closeAllConnections()
          server.close()
        })
    )
    return {
      url: url(),
      outcomes,
      renew: Effect.sync(() => {
        nonce = randomUUID()
      })
    }
  })
