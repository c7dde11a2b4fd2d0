import * as Canary from "@valetkey/testing/Canary"
import * as McpClient from "@valetkey/testing/McpClient"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect, Exit, Redacted, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

/** An authorization server of independent make with a resource that it guards. */
export interface Authority {
  readonly origin: string
  /** The resource; it answers 401 with its metadata, and 200 to a token that is good. */
  readonly resource: string
  /** Seconds that its access tokens live. */
  readonly lifetime: number
  /** Whether it answers in signed tokens where it is asked to (JARM). */
  readonly signsResponses: boolean
  /** What the token endpoint was asked so far. */
  readonly redemptions: Effect.Effect<ReadonlyArray<Redemption>>
  /** Whether the resource takes a token. */
  takes(token: string): Effect.Effect<boolean>
}

/** One token request with a refresh token. */
export interface Redemption {
  /** A digest of the refresh token. */
  readonly presented: string
  readonly status: number
}

/** Seconds that access tokens live at the servers that let them be short. */
const lifetime = 2

/** The certified server in this process, with an MCP server of the official SDK. */
const certified: Effect.Effect<Authority, never, Scope.Scope> = Effect.gen(function*() {
  const provider = yield* OidcProvider.make({ accessTokenTtlSeconds: lifetime, signsResponses: true })
  const { url } = yield* McpResource.make(provider)
  return {
    origin: provider.issuer,
    resource: url,
    lifetime,
    signsResponses: true,
    redemptions: Effect.sync(() =>
      provider.log.filter(({ grantType }) => grantType === "refresh_token").map(({ presented, status }) => ({
        presented: String(presented),
        status
      }))
    ),
    takes: (token) => Effect.map(Effect.exit(McpClient.whoami(url, { token: Redacted.make(token) })), Exit.isSuccess)
  }
})

/** Starts a process; the scope ends it. */
const spawned = (make: "BetterAuth" | "Workers", lifetime: number): Effect.Effect<Authority, never, Scope.Scope> =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [fileURLToPath(new URL(`./${make}Process.ts`, import.meta.url))], {
          env: { PATH: process.env["PATH"], ACCESS_TOKEN_LIFETIME: String(lifetime) },
          stdio: ["ignore", "ignore", "inherit", "ipc"]
        })
      ),
      (child) => Effect.promise(() => ended(child))
    )
    child.on("message", ({ kind, secret }: { kind?: string; secret?: string }) => {
      if (kind !== undefined && secret !== undefined) Canary.register(kind, secret)
    })
    const [ready] = (yield* Effect.promise(() => once(child, "message"))) as [{ origin: string; resource: string }]
    return {
      ...ready,
      lifetime,
      signsResponses: false,
      redemptions: Effect.promise(async () => {
        const answer = await fetch(`${ready.origin}/__redemptions`)
        return await answer.json() as ReadonlyArray<Redemption>
      }),
      takes: (token) =>
        Effect.promise(async () => {
          const { status } = await fetch(ready.resource, { headers: { authorization: `Bearer ${token}` } })
          return status === 200
        })
    }
  })

/** Every server, by what it makes of a refresh token that comes back. */
export const all: { readonly [name: string]: Effect.Effect<Authority, never, Scope.Scope> } = {
  "oidc-provider, which revokes the family": certified,
  "better-auth, which revokes the family": spawned("BetterAuth", lifetime),
  // It takes no shorter ones.
  "workers-oauth-provider, which lets it pass until the new one is used": spawned("Workers", 60)
}

const ended = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, "exit")
  child.kill("SIGKILL")
  await gone
}
