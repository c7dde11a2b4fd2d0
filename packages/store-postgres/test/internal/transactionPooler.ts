import { Effect, Redacted, type Scope } from "effect"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"

/** A connection pooler that lends a server session for one transaction at a time, each time another one if it can. */
export interface TransactionPooler {
  /** The URL of the database through the pooler. */
  readonly url: Redacted.Redacted
  /** How many transactions got another session than the one before on the same connection. */
  readonly switches: () => number
}

/** Starts a pooler until the scope closes. Like PgBouncer it refuses startup parameters that it cannot keep apart. */
export const make = (url: Redacted.Redacted): Effect.Effect<TransactionPooler, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const target = new URL(Redacted.value(url))
      const pool: Pool = { idle: [], waiting: [], sessions: new Set(), switches: 0 }
      const server = createServer({ noDelay: true }, (socket) => accept(pool, socket, target))
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      const near = new URL(target)
      near.hostname = "127.0.0.1"
      near.port = String((server.address() as AddressInfo).port)
      return { pool, server, url: Redacted.make(near.href) }
    }),
    ({ pool, server }) =>
      Effect.sync(() => {
        server.close()
        for (const { socket } of pool.sessions) socket.destroy()
      })
  ).pipe(Effect.map(({ pool, url }) => ({ url, switches: () => pool.switches })))

interface Session {
  readonly socket: Socket
  client: Client | undefined
}

interface Client {
  readonly socket: Socket
  session: Session | undefined
  before: Session | undefined
  owed: Array<Buffer>
  unanswered: number
}

interface Pool {
  readonly idle: Array<Session>
  readonly waiting: Array<Client>
  readonly sessions: Set<Session>
  switches: number
}

const kept = ["user", "database", "application_name", "client_encoding"]

/** The client authenticates over a session of its own, which joins the pool then. */
const accept = (pool: Pool, socket: Socket, target: URL): void => {
  const client: Client = { socket, session: undefined, before: undefined, owed: [], unanswered: 0 }
  let started = false
  let batch: Array<Buffer> = []
  socket.on("error", () => undefined)
  socket.on("close", () => client.session?.socket.destroy())
  socket.on(
    "data",
    framed((type, frame) => {
      if (type === undefined) {
        const refused = parameters(frame).find((name) => !kept.includes(name))
        if (refused !== undefined) return void socket.end(fatal(`unsupported startup parameter: ${refused}`))
        const session = open(pool, target, client, () => started = true)
        return void session.socket.write(frame)
      }
      if (!started) return void client.session?.socket.write(frame)
      if (type === "X") return void socket.end()
      batch.push(frame)
      if (type !== "S" && type !== "Q") return
      client.owed.push(...batch)
      batch = []
      client.unanswered++
      lend(pool, client)
    }, true)
  )
}

const open = (pool: Pool, target: URL, client: Client, onReady: () => void): Session => {
  const socket = connect({ host: target.hostname, port: Number(target.port), noDelay: true })
  const session: Session = { socket, client }
  client.session = session
  pool.sessions.add(session)
  let ready = false
  socket.on("error", () => undefined)
  socket.on("close", () => {
    pool.sessions.delete(session)
    const index = pool.idle.indexOf(session)
    if (index >= 0) pool.idle.splice(index, 1)
    session.client?.socket.destroy()
  })
  socket.on(
    "data",
    framed((type, frame) => {
      const { client } = session
      client?.socket.write(frame)
      if (type !== "Z" || client === undefined) return
      if (ready) client.unanswered--
      ready = true
      if (client.unanswered > 0 || frame[5] !== 0x49) return
      client.before = session
      client.session = undefined
      session.client = undefined
      pool.idle.push(session)
      onReady()
      const next = pool.waiting.shift()
      if (next !== undefined) lend(pool, next)
    }, false)
  )
  return session
}

const lend = (pool: Pool, client: Client): void => {
  if (client.session === undefined) {
    const other = pool.idle.findIndex((session) => session !== client.before)
    const [session] = pool.idle.splice(Math.max(other, 0), 1)
    if (session === undefined) return void pool.waiting.push(client)
    if (session !== client.before) pool.switches++
    session.client = client
    client.session = session
  }
  const frames = client.owed
  client.owed = []
  client.session.socket.write(Buffer.concat(frames))
}

/** Cuts a stream into protocol messages; the first of a client has no type. */
const framed = (onFrame: (type: string | undefined, frame: Buffer) => void, startsUntyped: boolean) => {
  let rest: Buffer = Buffer.alloc(0)
  let untyped = startsUntyped
  return (chunk: Buffer): void => {
    rest = Buffer.concat([rest, chunk])
    for (;;) {
      const head = untyped ? 0 : 1
      if (rest.length < head + 4) return
      const size = head + rest.readUInt32BE(head)
      if (rest.length < size) return
      const frame = rest.subarray(0, size)
      rest = rest.subarray(size)
      const type = untyped ? undefined : String.fromCharCode(frame[0] ?? 0)
      untyped = false
      onFrame(type, frame)
    }
  }
}

const parameters = (startup: Buffer): ReadonlyArray<string> =>
  startup.subarray(8).toString("utf8").split("\0").filter((text, index) => index % 2 === 0 && text !== "")

const fatal = (message: string): Buffer => {
  const fields = Buffer.from(`SFATAL\0C08P01\0M${message}\0\0`)
  const head = Buffer.alloc(5)
  head.write("E")
  head.writeUInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}
