import { subscribe } from "node:diagnostics_channel"
import type { IncomingMessage } from "node:http"
import type { Socket } from "node:net"

/** Under which number a caller keeps its request. */
export const callHeader = "x-chaos-call"

/** What a process has seen of its callers: a connection by its two ports, or a request by its number. */
export type Sight = { readonly accepted: string } | { readonly read: number }

/** The name of a connection, the same at both of its ends. */
export const nameOf = (server: number | undefined, client: number | undefined): string => `${server} ${client}`

/** Tells the parent of every connection that this process accepts and every request that it reads, before anything is done. */
export const tell = (): void => {
  // A message this short is written at once: what was seen is told even by a process that ends on the spot.
  const say = (seen: Sight): void => void process.send?.({ seen })
  subscribe("net.server.socket", (message) => {
    const { socket } = message as { readonly socket: Socket }
    say({ accepted: nameOf(socket.localPort, socket.remotePort) })
  })
  subscribe("http.server.request.start", (message) => {
    const { request } = message as { readonly request: IncomingMessage }
    const number = request.headers[callHeader]
    if (number !== undefined) say({ read: Number(number) })
  })
}

/** What all replicas saw. */
export interface Witness {
  hear(seen: Sight): void
  hasAccepted(connection: string): boolean
  hasRead(call: number): boolean
}

/** Makes one that has heard nothing. */
export const make = (): Witness => {
  const connections = new Set<string>()
  const calls = new Set<number>()
  return {
    hear: (seen) => "read" in seen ? calls.add(seen.read) : connections.add(seen.accepted),
    hasAccepted: (connection) => connections.has(connection),
    hasRead: (call) => calls.has(call)
  }
}
