import { subscribe } from "node:diagnostics_channel"
import type { IncomingMessage } from "node:http"

/** Under which number a caller keeps its request. */
export const callHeader = "x-chaos-call"

/** Tells the parent of every request that this process has read, before anything is done about it. */
export const tell = (): void => {
  subscribe("http.server.request.start", (message) => {
    const { request } = message as { readonly request: IncomingMessage }
    const number = request.headers[callHeader]
    // A message this short is written at once: what was read is told even by a process that ends on the spot.
    if (number !== undefined) process.send?.({ taken: Number(number) })
  })
}
