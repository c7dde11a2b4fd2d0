import { proxyPrefix } from "@valetkey/api/ProxyApi"
import type { Environment } from "@valetkey/client/Home"
import type { StoreError } from "@valetkey/domain/StoreError"
import type { WeakSecret } from "@valetkey/http/JwtAuthenticator"
import { PublicAddress } from "@valetkey/http/PublicAddress"
import type { MigrationError } from "@valetkey/store-postgres/Migrations"
import { Effect, Layer, type Scope } from "effect"
import * as Composition from "./Composition.ts"
import { Draining } from "./Draining.ts"
import * as Listeners from "./Listeners.ts"
import * as LocalConsole from "./LocalConsole.ts"
import * as LocalFiles from "./LocalFiles.ts"
import * as Logs from "./Logs.ts"
import type { PrivateFilesError } from "./PrivateFiles.ts"
import * as Settings from "./Settings.ts"
import * as Telemetry from "./Telemetry.ts"
import { terminated } from "./Termination.ts"

/** What a supervisor learns when the server is ready. */
export interface Ready {
  readonly ready: true
  readonly profile: Settings.Settings["profile"]
  readonly pid: number
  /** Where programs call: the socket of the local profile, URLs. */
  readonly listen: ReadonlyArray<string>
  /** Where browsers arrive. */
  readonly public: string | undefined
  readonly admin: string | undefined
}

/** Why a server did not start. Each has a stable code and a sentence that says what to do. */
export type ServeError =
  | Settings.SettingsError
  | PrivateFilesError
  | Listeners.ListenError
  | StoreError
  | MigrationError
  | WeakSecret

/** How to serve. */
export interface ServeOptions {
  readonly env: Environment
  /** Of the program; told on the socket of the local profile, so that a command of another version can say so. */
  readonly version?: string | undefined
  /** Called when every listener is open. */
  readonly onReady?: ((ready: Ready) => Effect.Effect<void>) | undefined
}

/**
 * Serves until SIGTERM or SIGINT, then stops accepting, answers what is under way, lets refreshes finish and returns.
 */
export const serve = (options: ServeOptions): Effect.Effect<void, ServeError> =>
  Effect.gen(function*() {
    const settings = yield* Settings.load(options.env)
    // Whatever this process makes is for its user alone.
    process.umask(0o077)
    yield* Effect.scoped(Effect.gen(function*() {
      const signal = yield* terminated
      const ready = yield* settings.profile === "local" ? startLocal(settings, options.version) : startServer(settings)
      yield* Effect.logInfo("ready", { profile: ready.profile, listen: ready.listen.join(" ") })
      if (settings.readyLine) process.stdout.write(`${JSON.stringify(ready)}\n`)
      if (options.onReady !== undefined) yield* options.onReady(ready)
      yield* signal
      yield* Effect.logInfo("draining")
    })).pipe(Effect.provide(Layer.provideMerge(Telemetry.layer(settings), Logs.layer(settings))))
  })

/** Starts the local profile in the scope: closing it drains. */
export const startLocal = (
  settings: Extract<Settings.Settings, { readonly profile: "local" }>,
  version?: string
): Effect.Effect<Ready, ServeError, Scope.Scope> =>
  Effect.gen(function*() {
    const { home } = settings
    const instanceId = yield* LocalFiles.prepare(home, settings)
    const bootToken = LocalFiles.newToken()
    const context = yield* Layer.build(Composition.layerLocal(settings, { instanceId, bootToken }))
    return yield* Effect.gen(function*() {
      // The store's lock is held from here on, so what an earlier process left may be replaced.
      yield* LocalFiles.publish(home, bootToken)
      const address = settings.publicUrl === undefined ? yield* LocalConsole.make : yield* PublicAddress
      const { rest, socket } = yield* Effect.all({
        socket: openSocket(home.socket, version),
        rest: openTcp(settings, settings.listen)
      }).pipe(Effect.provideService(PublicAddress, address))
      return {
        ready: true as const,
        profile: settings.profile,
        pid: process.pid,
        ...rest,
        listen: [socket, ...rest.listen]
      }
    }).pipe(drainFirst, Effect.provideContext(context))
  })

/** Starts the server profile in the scope: closing it drains. */
export const startServer = (
  settings: Extract<Settings.Settings, { readonly profile: "server" }>
): Effect.Effect<Ready, ServeError, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Layer.build(Composition.layerServer(settings))
    return yield* openTcp(settings, settings.listen).pipe(
      Effect.map((rest) => ({ ready: true as const, profile: settings.profile, pid: process.pid, ...rest })),
      drainFirst,
      Effect.provideContext(context)
    )
  })

/** What answers is loaded when the socket is open: it is the larger part of a start. */
const applications = Effect.promise(() => import("./Applications.ts"))

/** How long nobody may have asked before what answers is loaded all the same. */
const idle = "50 millis"

const isProxied = (url: string): boolean => url.startsWith(proxyPrefix)

/** Opens the socket of the local profile, which is live at once. */
const openSocket = Effect.fnUntraced(function*(path: string, version: string | undefined) {
  const { loaded, reachable } = yield* Listeners.open({
    address: { path },
    application: Effect.flatMap(applications, ({ api }) => api({})),
    streams: isProxied,
    liveAtOnce: true,
    version,
    leaving: (yield* Draining).wait
  })
  yield* Effect.sleep(idle).pipe(
    Effect.andThen(loaded),
    // Nothing that this process could do brings a file of the program back.
    Effect.catchCause((cause) =>
      Effect.andThen(
        Effect.logFatal("the program could not be loaded", cause),
        Effect.sync(() => process.kill(process.pid, "SIGTERM"))
      )
    ),
    Effect.forkScoped
  )
  return reachable
})

/** Opens a listener that answers at once. */
const openLoaded = Effect.fnUntraced(function*<R>(listener: Listeners.Listener<R>) {
  const { loaded, reachable } = yield* Listeners.open({ ...listener, leaving: (yield* Draining).wait })
  yield* loaded
  return reachable
})

/** Opens the TCP listeners of a profile. The public pages share the API's port unless they have one of their own. */
const openTcp = Effect.fnUntraced(function*(settings: Settings.Settings, listen: Settings.ListenAddress | undefined) {
  // A browser can be led to a local port by a name of somebody else; a deployment is reached by names of its own.
  const hosts = settings.profile === "local" ? new Array<string>() : undefined
  const publicUrl = settings.publicUrl === undefined ? undefined : new URL(settings.publicUrl)
  const browsers = { origin: publicUrl?.origin, basePath: publicUrl?.pathname.replace(/\/+$/, "") }
  const shared = settings.publicListen === undefined && settings.publicUrl !== undefined ||
    settings.profile === "server" && settings.publicListen === undefined
  const api = listen === undefined ? undefined : yield* openLoaded({
    address: listen,
    streams: isProxied,
    application: Effect.flatMap(
      applications,
      ({ api }) => api({ hosts, browsers: shared ? browsers : undefined })
    )
  })
  if (api !== undefined && hosts !== undefined) {
    const port = new URL(api).port
    hosts.push(new URL(api).host, `localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`)
  }
  const open = settings.publicListen === undefined
    ? undefined
    : yield* openLoaded({
      address: settings.publicListen,
      application: Effect.flatMap(applications, (applications) => applications.browsers(browsers))
    })
  const admin = settings.adminListen === undefined
    ? undefined
    : yield* openLoaded({
      address: settings.adminListen,
      application: Effect.flatMap(applications, ({ admin }) => admin())
    })
  return { listen: api === undefined ? [] : [api], public: open ?? (shared ? api : undefined), admin }
})

/** Begins the drain when the scope closes, before the listeners do. */
const drainFirst = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Draining | Scope.Scope> =>
  Effect.gen(function*() {
    const result = yield* effect
    const draining = yield* Draining
    yield* Effect.addFinalizer(() => draining.begin)
    return result
  })
