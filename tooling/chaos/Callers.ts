import { Agent, request } from "node:http"
import type { Phase } from "./History.ts"
import { callHeader, nameOf } from "./Witness.ts"

/** An answer of the API as a caller sees it; status 0 when there was none. */
export interface Answer {
  readonly status: number
  readonly retryAfter: boolean
  readonly body: Readonly<Record<string, unknown>>
  /** What happened instead of an answer. */
  readonly missed?: string
  /** How far it was then. */
  readonly phase?: Phase
  /** What the request was called on its way, and its connection. */
  readonly number: number
  readonly connection?: string | undefined
}

/** Many callers behind one pool of connections. */
export interface Callers {
  call(origin: string, method: string, path: string, bearer: string, body?: unknown): Promise<Answer>
  /** Forgets a process that is gone. What it sent before may still be on its way, so nothing is cut. */
  forget(origin: string): void
  close(): void
}

/** A caller that waits longer than this has been forgotten. */
const patience = 60_000

/** Makes the pool. Nothing is asked twice: a server that hangs up on a request was not fit to keep the connection. */
export const make = (): Callers => {
  const agents = new Map<string, Agent>()
  const agentOf = (origin: string): Agent => {
    const agent = agents.get(origin) ?? new Agent({ keepAlive: true, maxSockets: 256 })
    agents.set(origin, agent)
    return agent
  }
  let numbers = 0
  const attempt = (origin: string, method: string, path: string, bearer: string, text: string | undefined) =>
    new Promise<Answer>((resolve) => {
      const number = ++numbers
      let phase: Phase = "connect"
      let connection: string | undefined
      const nobody = (missed: string) =>
        resolve({ status: 0, retryAfter: false, body: {}, missed, phase, number, connection })
      const outgoing = request(new URL(path, origin), {
        method,
        agent: agentOf(origin),
        timeout: patience,
        headers: {
          authorization: `Bearer ${bearer}`,
          [callHeader]: number,
          ...(text === undefined
            ? {}
            : { "content-type": "application/json", "content-length": Buffer.byteLength(text) })
        }
      })
      outgoing.on("socket", (socket) => {
        if (outgoing.reusedSocket) phase = "kept"
        else {
          socket.once("connect", () => {
            phase = "new"
            connection = nameOf(socket.remotePort, socket.localPort)
          })
        }
      })
      outgoing.on("response", (response) => {
        phase = "answer"
        const chunks: Array<Buffer> = []
        response.on("data", (chunk: Buffer) => chunks.push(chunk))
        response.on("error", ({ message }) => nobody(message))
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            retryAfter: response.headers["retry-after"] !== undefined,
            body: parsed(Buffer.concat(chunks).toString()),
            number
          }))
      })
      outgoing.on("timeout", () => {
        phase = "late"
        outgoing.destroy(new Error("nobody answered in time"))
      })
      outgoing.on("error", ({ message }) => nobody(message))
      outgoing.end(text)
    })
  return {
    call: (origin, method, path, bearer, body) =>
      attempt(origin, method, path, bearer, body === undefined ? undefined : JSON.stringify(body)),
    forget: (origin) => {
      agents.delete(origin)
    },
    close: () => agents.forEach((agent) => agent.destroy())
  }
}

const parsed = (text: string): Answer["body"] => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
