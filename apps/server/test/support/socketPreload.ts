// Loaded before a server that a test starts: notes every connection that the process opens, by whatever code.
import { subscribe } from "node:diagnostics_channel"
import { appendFileSync } from "node:fs"
import type { Socket } from "node:net"

const file = process.env["TEST_SOCKETS"]!

// The channel speaks before the address is known, and the attempt is made before a byte can leave.
subscribe("net.client.socket", (message) => {
  const { socket } = message as { readonly socket: Socket }
  socket.on("connectionAttempt", (ip: string, port: number) => appendFileSync(file, `${ip} ${port}\n`))
})
