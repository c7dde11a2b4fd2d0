import { Clock, Effect, FiberSet, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { type CliFailure, failure } from "./CliFailure.ts"
import { type Issued, type RaceGrant, RaceLedger } from "./RaceLedger.ts"

/** The one client that the simulator knows: a public one. */
export const clientId = "doctor-race"

/** Where the simulator listens, and how the servers under test reach it. */
export interface Stand {
  readonly host: string
  /** 0 lets the system choose. */
  readonly port: number
  /** Default `http://` and the address on which it listens. */
  readonly publicUrl?: string | undefined
}

/** A token endpoint that rotates refresh tokens, revokes a grant on reuse, and remembers what it saw. */
export interface RaceSimulator {
  readonly tokenEndpoint: string
  /** How long access tokens live that are issued from now on. */
  lifetimeSeconds: number
  open(): RaceGrant
}

/**
 * Starts a simulator until the scope closes. It answers at a path that nobody can guess and no other run has: what a former
 * one left behind neither counts nor hinders.
 */
export const make = (stand: Stand): Effect.Effect<RaceSimulator, CliFailure, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const fork = yield* FiberSet.makeRuntime()
    const ledger = new RaceLedger()
    const path = `/${randomBytes(16).toString("base64url")}/token`
    const answer = Effect.fnUntraced(function*(request: IncomingMessage, response: ServerResponse) {
      if (request.method !== "POST" || !(request.url ?? "").endsWith(path)) return void response.writeHead(404).end()
      const form = yield* Effect.promise(() => read(request))
      if (form === undefined) return void response.writeHead(413).end()
      // What counts is what arrives: a caller that hangs up has redeemed all the same.
      const [status, body] = decide(
        form,
        (token) => ledger.redeem(token, simulator.lifetimeSeconds, clock.currentTimeMillisUnsafe())
      )
      yield* Effect.sleep(hold)
      response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" })
      response.end(JSON.stringify(body))
    })
    const port = yield* listen(stand, (request, response) => void fork(answer(request, response)))
    const base = stand.publicUrl?.replace(/\/+$/, "") ?? `http://${stand.host}:${port}`
    const simulator: RaceSimulator = {
      tokenEndpoint: `${base}${path}`,
      lifetimeSeconds: 3600,
      open: () => ledger.open()
    }
    return simulator
  })

/** How long an answer is held back, so that everybody who races meets the same redemption. */
const hold = "200 millis"

const decide = (
  form: URLSearchParams,
  redeem: (refreshToken: string) => Issued | undefined
): readonly [status: number, body: Readonly<Record<string, unknown>>] => {
  if (form.get("grant_type") !== "refresh_token") return [400, { error: "unsupported_grant_type" }]
  if (form.get("client_id") !== clientId) return [400, { error: "invalid_client" }]
  const issued = redeem(form.get("refresh_token") ?? "")
  return issued === undefined ? [400, { error: "invalid_grant" }] : [200, {
    access_token: issued.accessToken,
    token_type: "Bearer",
    expires_in: issued.expiresIn,
    refresh_token: issued.refreshToken
  }]
}

/** The form of a request; undefined when it is longer than any that is meant. A request that breaks off carries nothing. */
const read = async (request: IncomingMessage): Promise<URLSearchParams | undefined> => {
  const chunks: Array<Buffer> = []
  let size = 0
  try {
    for await (const chunk of request) {
      size += (chunk as Buffer).length
      if (size > 16_384) return undefined
      chunks.push(chunk as Buffer)
    }
  } catch {
    return new URLSearchParams()
  }
  return new URLSearchParams(Buffer.concat(chunks).toString())
}

const listen = (
  { host, port }: Stand,
  handler: (request: IncomingMessage, response: ServerResponse) => void
): Effect.Effect<number, CliFailure, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>, CliFailure>((resume) => {
      const server = createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, handler)
      server.once("error", () =>
        resume(Effect.fail(failure(
          "simulator_not_started",
          "The simulator cannot listen there; another program may hold the port. Give another one with --listen"
        ))))
      server.listen(port, host.replace(/^\[|\]$/g, ""), () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => (server.address() as AddressInfo).port))
