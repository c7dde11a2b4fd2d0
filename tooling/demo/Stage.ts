import { locate } from "@valetkey/client/Home"
import * as Canary from "@valetkey/testing/Canary"
import * as McpResource from "@valetkey/testing/McpResource"
import * as OidcProvider from "@valetkey/testing/OidcProvider"
import { Effect, Redacted, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Command from "./Command.ts"
import * as Person from "./Person.ts"
import * as Serving from "./Serving.ts"

/** Everything the story needs, running. */
export interface Stage {
  readonly provider: OidcProvider.OidcProvider
  readonly resource: McpResource.McpResource
  readonly person: Person.Person
  readonly home: ReturnType<typeof locate>
  readonly serving: Serving.Serving
  /** The refresh tokens that the provider issued, in order. */
  readonly refreshTokens: ReadonlyArray<Redacted.Redacted>
  readonly millis: { readonly peers: number; readonly serving: number }
  /** Runs the command against this installation. */
  valetkey(...args: ReadonlyArray<string>): Effect.Effect<Command.Finished>
}

/** Starts the authorization server, the MCP server behind it, the person and `valetkey serve` until the scope closes. */
export const make = (
  options: { readonly chromium: boolean; readonly accessTokenTtlSeconds: number }
): Effect.Effect<Stage, Serving.NotServing, Scope.Scope> =>
  Effect.gen(function*() {
    const started = performance.now()
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-demo-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const refreshTokens: Array<Redacted.Redacted> = []
    const provider = yield* OidcProvider.make({
      accessTokenTtlSeconds: options.accessTokenTtlSeconds,
      rotateRefreshTokens: true,
      onSecret: (kind, secret) => {
        Canary.register(kind, secret)
        if (kind === "refresh_token") refreshTokens.push(Redacted.make(secret))
      }
    })
    const resource = yield* McpResource.make(provider)
    const person = yield* Person.make({ directory, chromium: options.chromium })
    const peers = performance.now() - started
    const env = Command.environment(directory, { VALETKEY_HOME: join(directory, "home"), BROWSER: person.browser })
    const serving = yield* Serving.start(env)
    return {
      provider,
      resource,
      person,
      home: locate(env),
      serving,
      refreshTokens,
      millis: { peers, serving: performance.now() - started - peers },
      valetkey: (...args) => Command.valetkey(args, { env })
    }
  })
