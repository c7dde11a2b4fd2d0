import { Deferred, Effect, Exit } from "effect"
import type { IncomingMessage, Server, ServerResponse } from "node:http"
import { Server as SocketServer, type Socket } from "node:net"

/** The end of an HTTP server that answers every request which has reached this machine. */
export interface Departure {
  /** Has it accept nothing more once everybody who was waiting to be let in is, and let go of whoever asks for nothing. */
  readonly begin: Effect.Effect<void>
  /** Completes when its last connection is gone. */
  readonly done: Effect.Effect<void>
  /** Ends what is left at once. */
  readonly cut: Effect.Effect<void>
}

/** What is known of one connection. */
interface Conversation {
  /** Responses that have not left in full. */
  readonly open: Set<ServerResponse>
  /** Bytes that came before everything was answered; more than these are a request on its way. */
  read: number
  /** Since when nothing is asked. */
  silentSince: number
  asked: boolean
}

/** Connections that the system accepts for a server before the server does. */
const backlog = 511

/** How long a connection says nothing before it is let go, in milliseconds: one that was used, and one that never was. */
const silence = { used: 250, unused: 1000 }

/** How often silence is looked for. */
const interval = 50

/** Watches a server from its first connection on. */
export const make = (server: Server): Departure => {
  const gone = Deferred.makeUnsafe<void>()
  const conversations = new Map<Socket, Conversation>()
  let leaving = false
  let accepted = 0

  server.on("connection", (socket: Socket) => {
    accepted++
    conversations.set(socket, { open: new Set(), read: 0, silentSince: performance.now(), asked: false })
    socket.once("close", () => conversations.delete(socket))
  })
  server.on("request", ({ socket }: IncomingMessage, response: ServerResponse) => {
    const conversation = conversations.get(socket)
    if (conversation === undefined) return
    conversation.open.add(response)
    conversation.asked = true
    if (leaving) sayGoodbye(response)
    response.once("close", () => {
      conversation.open.delete(response)
      conversation.read = socket.bytesRead
      conversation.silentSince = performance.now()
    })
  })

  const letGo = (): void => {
    const now = performance.now()
    for (const [socket, { asked, open, read, silentSince }] of conversations) {
      const isSilent = open.size === 0 && socket.bytesRead === read
      if (isSilent && now - silentSince >= (asked ? silence.used : silence.unused)) socket.destroy()
    }
  }

  const close = (): void => {
    // The server's own `close` lets go of connections at once, also of those whose next request is already here.
    SocketServer.prototype.close.call(server, () => {
      server.close()
      Deferred.doneUnsafe(gone, Exit.void)
    })
  }

  /** Closes after a turn of the event loop in which nobody was let in, or when all who can have waited are. */
  const closeWhenQuiet = (turns: number, before: number): void => {
    setImmediate(() => {
      if (!server.listening) return
      if (accepted === before || turns === 0) close()
      else closeWhenQuiet(turns - 1, accepted)
    })
  }

  const begin = (): void => {
    if (leaving) return
    leaving = true
    // One that never listened has nobody to wait for.
    if (!server.listening) return void Deferred.doneUnsafe(gone, Exit.void)
    for (const { open } of conversations.values()) open.forEach(sayGoodbye)
    // What has arrived is read before anybody is looked at: after a turn of the event loop, not after a pause of it.
    const sweep = setInterval(() => setImmediate(letGo), interval)
    server.once("close", () => clearInterval(sweep))
    closeWhenQuiet(backlog, -1)
  }

  return {
    begin: Effect.sync(begin),
    done: Deferred.await(gone),
    cut: Effect.sync(() => {
      begin()
      if (server.listening) close()
      server.closeAllConnections()
    })
  }
}

/** Has a client send its next request to somebody else. */
const sayGoodbye = (response: ServerResponse): void => {
  if (!response.headersSent) response.setHeader("connection", "close")
}
