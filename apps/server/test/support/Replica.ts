import { assert } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import * as Emitted from "@valetkey/testing/Emitted"
import { Deferred, Effect, Redacted, type Scope } from "effect"
import { type ChildProcessByStdio, spawn } from "node:child_process"
import { createHmac, randomBytes } from "node:crypto"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { type AddressInfo, connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"
import * as SocketWatch from "./SocketWatch.ts"

/** The environment of a process. */
export type Env = Readonly<Record<string, string | undefined>>

/** A server process. */
export interface Replica {
  readonly pid: number
  /** What it said when it was ready. */
  readonly ready: { readonly listen: ReadonlyArray<string>; readonly public: string; readonly admin: string }
  readonly api: string
  /** Calls the API as the bearer of `deployment.token`. */
  call(method: string, path: string, body?: unknown): Effect.Effect<Answer>
  /** Opens a new connection for one request; fails when nobody accepts it. */
  readonly tryLive: Effect.Effect<void, unknown>
  signal(signal: NodeJS.Signals): void
  readonly ended: Effect.Effect<Ended>
}

/** How a process ended. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** An answer of the API. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Readonly<Record<string, unknown>>
}

/** What replicas of one installation share. */
export interface Deployment {
  readonly env: Env
  readonly token: string
}

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url))

/** Makes the configuration of an installation on a database. */
export const deployment = (options: {
  readonly databaseUrl: string
  readonly publicPort: number
  readonly allowEgress?: string
}): Deployment => {
  const key = randomBytes(32).toString("base64")
  const secret = randomBytes(48).toString("base64url")
  Canary.register("root_key", key)
  Canary.register("jwt_secret", secret)
  return {
    env: {
      DATABASE_URL: options.databaseUrl,
      VALETKEY_KEYS: `1:${key}`,
      VALETKEY_INSTANCE_ID: "test",
      VALETKEY_JWT_SECRET: secret,
      VALETKEY_JWT_ISSUER: "https://id.example",
      VALETKEY_JWT_AUDIENCE: "valetkey",
      VALETKEY_PUBLIC_URL: `http://127.0.0.1:${options.publicPort}`,
      VALETKEY_LISTEN: "127.0.0.1:0",
      ...(options.allowEgress === undefined ? {} : { VALETKEY_ALLOW_EGRESS: options.allowEgress })
    },
    token: jwt(secret, {
      iss: "https://id.example",
      aud: "valetkey",
      sub: "alice",
      tenant: "acme",
      scope: "flows:write connections:read connections:write tokens:read admin operator",
      exp: 4_000_000_000
    })
  }
}

/** The credential of somebody else in the same deployment. */
export const tokenOf = (
  { env }: Deployment,
  claims: { readonly sub: string; readonly tenant?: string; readonly scope?: string }
): string =>
  jwt(env["VALETKEY_JWT_SECRET"] ?? "", {
    iss: env["VALETKEY_JWT_ISSUER"],
    aud: env["VALETKEY_JWT_AUDIENCE"],
    tenant: "acme",
    scope: "flows:write connections:read connections:write tokens:read admin",
    exp: 4_000_000_000,
    ...claims
  })

/** Runs `main.ts` until it ends by itself. */
export const run = (env: Env): Effect.Effect<Ended> => Effect.scoped(Effect.flatMap(launch(env), ({ ended }) => ended))

/** Starts a server and returns when it is ready; the scope ends it. What it inherits is its descriptors 3 and up. */
export const start = (
  env: Env,
  token = "",
  inherited: ReadonlyArray<number> = []
): Effect.Effect<Replica, never, Scope.Scope> =>
  Effect.gen(function*() {
    const process = yield* launch({ VALETKEY_READY_LINE: "true", ...env }, inherited)
    const ready = JSON.parse(yield* process.line) as Replica["ready"]
    const api = ready.listen.at(-1) ?? ""
    return {
      pid: process.pid,
      ready,
      api,
      ended: process.ended,
      signal: process.signal,
      tryLive: Effect.tryPromise(() =>
        new Promise<void>((resolve, reject) => {
          const { hostname, port } = new URL(api)
          const socket = connect(Number(port), hostname, () => {
            socket.destroy()
            resolve()
          })
          socket.on("error", reject)
        })
      ),
      call: caller(api, token)
    }
  })

/** Calls an API as the bearer of a token. */
export const caller = (api: string, token: string): Replica["call"] => (method, path, body) =>
  Effect.promise(async (signal) => {
    const response = await fetch(`${api}${path}`, {
      method,
      signal,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) })
    })
    const text = await response.text()
    // The answers with a token or an authorization URL are the two that may carry a secret.
    if (!/\/token$|\/v1\/flows$/.test(path)) Emitted.record("response", text)
    return { status: response.status, headers: response.headers, body: text === "" ? {} : JSON.parse(text) }
  })

/** A port that was free a moment ago, for an address that must be known before the listener is open. */
export const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** The database URL of a test as text. */
export const text = (url: Redacted.Redacted): string => Redacted.value(url)

const launch = (env: Env, inherited: ReadonlyArray<number> = []) =>
  Effect.gen(function*() {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "vks-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const sockets = SocketWatch.make(directory, env)
    return yield* Effect.acquireRelease(
      Effect.sync(() => watch(env, directory, inherited, sockets)),
      (process) =>
        Effect.sync(() => process.signal("SIGKILL")).pipe(
          Effect.andThen(process.ended),
          Effect.andThen(Effect.sync(() => assert.deepStrictEqual(sockets.strays(), [], "connections of a server")))
        )
    )
  })

const watch = (
  env: Env,
  directory: string,
  inherited: ReadonlyArray<number>,
  sockets: SocketWatch.SocketWatch
) => {
  const child = spawn(process.execPath, [...sockets.nodeOptions, main], {
    env: {
      PATH: process.env["PATH"],
      HOME: directory,
      VALETKEY_HOME: join(directory, "home"),
      ...sockets.env,
      ...env
    },
    stdio: ["ignore", "pipe", "pipe", ...inherited]
  }) as ChildProcessByStdio<null, Readable, Readable>
  let stdout = ""
  let stderr = ""
  const first = Deferred.makeUnsafe<string>()
  const end = Deferred.makeUnsafe<Ended>()
  child.stdout.on("data", (chunk) => {
    stdout += String(chunk)
    if (stdout.includes("\n")) Deferred.doneUnsafe(first, Effect.succeed(stdout.split("\n", 1)[0] ?? ""))
  })
  child.stderr.on("data", (chunk) => stderr += String(chunk))
  child.on("spawn", () => Emitted.record("cmdline", readFileSync(`/proc/${child.pid}/cmdline`)))
  child.on("close", (code) => {
    Emitted.record("stdout", stdout)
    Emitted.record("stderr", stderr)
    Deferred.doneUnsafe(first, Effect.die(new Error(`The server ended before it was ready: ${stderr}`)))
    Deferred.doneUnsafe(end, Effect.succeed({ code, stdout, stderr }))
  })
  return {
    pid: child.pid ?? 0,
    line: Deferred.await(first),
    ended: Deferred.await(end),
    signal: (signal: NodeJS.Signals) => void child.kill(signal)
  }
}

const jwt = (secret: string, claims: object): string => {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`
}
