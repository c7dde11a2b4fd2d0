import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Effect, Redacted, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Api from "../proofs/Api.ts"
import type { Name } from "./Breakage.ts"
import * as Callers from "./Callers.ts"
import type { Subject } from "./History.ts"
import * as Log from "./Log.ts"
import * as Providers from "./Providers.ts"
import type { Measured } from "./Pulse.ts"
import * as Replicas from "./Replicas.ts"
import * as Witness from "./Witness.ts"

/** What a deployment is made of. */
export interface DeploymentOptions {
  readonly seed: number
  readonly replicas: number
  /** The share of redemptions that a provider answers in another way than honestly and at once. */
  readonly share: number
  /** Until when a provider may do what a connection feels for a minute; never when absent. */
  readonly lastingUntil?: number | undefined
  /** A deliberately broken build. */
  readonly broken?: Name | undefined
  readonly onMeasured?: ((measured: Measured) => void) | undefined
  readonly env?: Readonly<Record<string, string>>
}

/** Replicas that are not started, their database, the providers, and callers of all of them. */
export interface Deployment {
  readonly postgres: EmbeddedPostgres.PostgresServer
  readonly providers: Providers.Providers
  readonly replicas: ReadonlyArray<Replicas.Replica>
  readonly callers: Callers.Callers
  readonly log: Log.Log
  readonly witness: Witness.Witness
  /** The credential of the person to whom a connection belongs. */
  bearerOf(subject: Subject): string
}

const issuer = "https://id.example"
const audience = "valetkey"

/** Makes a deployment whose every part ends with the scope. */
export const make = (options: DeploymentOptions): Effect.Effect<Deployment, never, Scope.Scope> =>
  Effect.gen(function*() {
    const postgres = yield* EmbeddedPostgres.make()
    const providers = yield* Effect.acquireRelease(
      Effect.promise(() => Providers.start(options.seed, options.share, options.lastingUntil ?? 0)),
      (providers) => Effect.promise(() => providers.stop())
    )
    const jwtSecret = randomBytes(48).toString("base64url")
    const log = Log.make()
    const witness = Witness.make()
    const compiled = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "vk-chaos-compiled-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const installation: Replicas.Installation = {
      log,
      compiled,
      databaseUrl: Redacted.value(postgres.url),
      ports: providers.ports,
      broken: options.broken,
      onMeasured: options.onMeasured ?? (() => {}),
      witness,
      env: {
        VALETKEY_KEYS: `1:${randomBytes(32).toString("base64")}`,
        VALETKEY_INSTANCE_ID: "chaos",
        VALETKEY_JWT_SECRET: jwtSecret,
        VALETKEY_JWT_ISSUER: issuer,
        VALETKEY_JWT_AUDIENCE: audience,
        VALETKEY_LISTEN: "127.0.0.1:0",
        VALETKEY_ALLOW_EGRESS: Object.values(providers.ports).map((port) => `${Replicas.providerHost}:${port}`).join(
          ","
        ),
        ...options.env
      }
    }
    const replicas = yield* Effect.forEach(
      Array.from({ length: options.replicas }, (_, index) => index),
      (index) => Replicas.make(index, installation)
    )
    const callers = yield* Effect.acquireRelease(
      Effect.sync(() => Callers.make()),
      (callers) => Effect.sync(() => callers.close())
    )
    return {
      postgres,
      providers,
      replicas,
      callers,
      log,
      witness,
      bearerOf: ({ subject, tenant }) =>
        Redacted.value(Api.jwt(jwtSecret, {
          iss: issuer,
          aud: audience,
          sub: subject,
          tenant,
          scope: "connections:read connections:write tokens:read"
        }))
    }
  })
