import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { Entropy } from "@valetkey/domain/Entropy"
import { StateTags } from "@valetkey/domain/StateTags"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import { Effect, Redacted } from "effect"
import { hash, randomBytes } from "node:crypto"
import * as Installation from "../proofs/Installation.ts"
import { race } from "./Race.ts"
import type { Section } from "./Table.ts"

const builds = 5000
const request = {
  authorizationEndpoint: "https://as.example/authorize",
  clientId: "bench",
  redirectUri: "https://valetkey.example/callback/c0ffee",
  scopes: ["read", "write"],
  resource: "https://mcp.example/mcp",
  parameters: {}
}
const query = new URLSearchParams({
  response_type: "code",
  client_id: request.clientId,
  redirect_uri: request.redirectUri,
  scope: request.scopes.join(" "),
  resource: request.resource,
  code_challenge_method: "S256"
}).toString()

/** What every start makes anew: state, verifier, challenge and URL, beside the same in plain Node.js, and with the state's tag. */
export const building = (rounds: number): Promise<Section> =>
  Effect.gen(function*() {
    const entropy = yield* Entropy
    const states = yield* StateTags
    const server = yield* AuthorizationServer
    const build = (issue: StateTags["Service"]["issue"]) =>
      Effect.gen(function*() {
        for (let n = 0; n < builds; n++) {
          const state = yield* issue
          const codeVerifier = yield* entropy.secret
          entropy.digest(state)
          const url = yield* server.authorizationUrl({ ...request, state, codeVerifier })
          if (!Redacted.value(url).startsWith(request.authorizationEndpoint)) return yield* Effect.die("no URL")
        }
      })
    const run = Effect.runPromiseWith(yield* Effect.context<never>())
    const figures = yield* Effect.promise(() =>
      race(rounds, [
        ["bare node:crypto", () => perSecond(() => Promise.resolve(bare()))],
        ["state, verifier and URL", () => perSecond(() => run(build(entropy.secret)))],
        ["the same with the tag of the state", () => perSecond(() => run(build(states.issue)))]
      ])
    )
    return {
      title: "building a start",
      unit: "per second",
      figures,
      limits: {}
    } satisfies Section
  }).pipe(Effect.provide(Installation.layer(MemoryStore.layer)), Effect.scoped, Effect.runPromise)

const perSecond = async (work: () => Promise<void>): Promise<number> => {
  const begun = performance.now()
  await work()
  return builds * 1000 / (performance.now() - begun)
}

const bare = (): void => {
  for (let n = 0; n < builds; n++) {
    const state = randomBytes(32).toString("base64url")
    const verifier = randomBytes(32).toString("base64url")
    hash("sha256", state, "base64url")
    const url = `${request.authorizationEndpoint}?${query}&state=${state}&code_challenge=${
      hash("sha256", verifier, "base64url")
    }`
    if (url.length < 100) throw new Error("no URL")
  }
}
