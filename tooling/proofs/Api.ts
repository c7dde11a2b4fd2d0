import { Effect, Redacted } from "effect"
import { createHmac } from "node:crypto"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import type { Evidence } from "./Evidence.ts"

/** One answer of the HTTP API. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The members of a JSON object; empty for anything else. */
  readonly json: Readonly<Record<string, unknown>>
}

/** A caller of the HTTP API that keeps what it is told. */
export interface Api {
  call(method: string, path: string, options?: {
    /** Sent as JSON; a string is sent as it is. */
    readonly body?: unknown
    readonly token?: string
    /** Members that hand a secret to the caller, as the contract says. They are not kept. */
    readonly secret?: ReadonlyArray<string>
  }): Effect.Effect<Answer>
}

/** Makes a caller with a bearer token. */
export const make = (origin: string, bearer: Redacted.Redacted, evidence?: Evidence): Api => ({
  call: (method, path, options = {}) =>
    Effect.promise(async () => {
      const { body, secret = [], token = Redacted.value(bearer) } = options
      const response = await fetch(new URL(path, origin), {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { "content-type": "application/json" })
        },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) })
      })
      const text = await response.text()
      const json = parse(text)
      const kept = secret.reduce((rest, name) => rest.replaceAll(JSON.stringify(json[name]), "\"handed out\""), text)
      evidence?.record("http", `${response.status} ${JSON.stringify([...response.headers])}\n${kept}`)
      return { status: response.status, headers: response.headers, text, json }
    })
})

/** A token of the server profile: HS256, good for an hour. */
export const jwt = (secret: string, claims: Readonly<Record<string, unknown>>): Redacted.Redacted => {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const exp = Math.floor(Date.now() / 1000) + 3600
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ exp, ...claims })}`
  return Redacted.make(`${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`)
}

/** A port that nobody uses now. */
export const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const probe = createServer()
  probe.listen(0, "127.0.0.1", () => {
    const { port } = probe.address() as AddressInfo
    probe.close(() => resume(Effect.succeed(port)))
  })
})

const parse = (text: string): Readonly<Record<string, unknown>> => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {}
  } catch {
    return {}
  }
}
