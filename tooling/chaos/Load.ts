import { setTimeout as pause } from "node:timers/promises"
import type { Callers } from "./Callers.ts"
import type { Call, Deed, Grant, Subject } from "./History.ts"
import type { Providers } from "./Providers.ts"
import type { Random } from "./Random.ts"
import { providerHost, type Replica } from "./Replicas.ts"

/** Whom the load asks for what. */
export interface LoadOptions {
  readonly subjects: ReadonlyArray<Subject>
  readonly replicas: ReadonlyArray<Replica>
  readonly providers: Providers
  readonly callers: Callers
  readonly bearerOf: (subject: Subject) => string
  readonly random: Random
  /** Callers at work at the same time. */
  readonly workers: number
}

/** Callers that ask for tokens and reject them, and people who connect, disconnect and consent anew. */
export interface Load {
  /** Connects every subject. */
  connect(): Promise<void>
  /** Works until `stop` says so. */
  work(stop: () => boolean): Promise<void>
  /** Asks for every connection until it is answered, for at most so long each. */
  finish(milliseconds: number): Promise<void>
  readonly calls: ReadonlyArray<Call>
  readonly deeds: ReadonlyArray<Deed>
}

interface Person {
  readonly subject: Subject
  readonly bearer: string
  readonly path: string
  token: string | undefined
  grant: number | undefined
  connected: boolean
  busy: boolean
}

/** Makes the load; nothing happens yet. */
export const make = (options: LoadOptions): Load => {
  const { callers, providers, random, replicas } = options
  const calls: Array<Call> = []
  const deeds: Array<Deed> = []
  let grants = 0
  const people = options.subjects.map((subject): Person => ({
    subject,
    bearer: options.bearerOf(subject),
    path: `/v1/connections/${subject.server}`,
    token: undefined,
    grant: undefined,
    connected: false,
    busy: false
  }))
  // As a balancer does: one that does not answer holds its share of the callers, not all of them.
  const share = Math.ceil(options.workers / replicas.length)
  const asked = new Map(replicas.map((replica) => [replica, 0]))
  const someReplica = (): Replica => {
    const up = replicas.filter((replica) => replica.up())
    const free = up.filter((replica) => asked.get(replica)! < share)
    return random.pick(free.length > 0 ? free : up.length > 0 ? up : replicas)
  }
  const countAsked = (replica: Replica, by: number) => asked.set(replica, asked.get(replica)! + by)

  const ask = async (person: Person, rejected?: string, replica = someReplica()): Promise<Call> => {
    countAsked(replica, 1)
    const at = Date.now()
    const { body, connection: socket, missed, number, phase, retryAfter, status } = await callers.call(
      replica.api(),
      "POST",
      `${person.path}/token`,
      person.bearer,
      rejected === undefined ? {} : { rejectedToken: rejected }
    )
    const end = Date.now()
    countAsked(replica, -1)
    const token = status === 200 ? String(body["accessToken"]) : undefined
    const code = body["code"] === undefined ? undefined : String(body["code"])
    const call: Call = {
      at,
      end,
      connection: person.subject.id,
      replica: replica.index,
      rejected,
      status,
      code,
      retryAfter,
      token,
      generation: status === 200 ? Number(body["generation"]) : undefined,
      number,
      socket,
      missed,
      phase,
      correlation: body["correlationId"] === undefined ? undefined : String(body["correlationId"])
    }
    calls.push(call)
    if (token !== undefined) person.token = token
    if (status === 404 || code === "reauthorization_required") person.connected = false
    // Whoever is not let in does not hammer at the door.
    if (status === 0 || status === 503) await pause(50)
    return call
  }

  const deposit = async (person: Person, grant: Grant): Promise<boolean> => {
    const issuer = `http://${providerHost}:${providers.ports[person.subject.mode]}`
    const at = Date.now()
    const { status } = await callers.call(someReplica().api(), "PUT", person.path, person.bearer, {
      tokenEndpoint: `${issuer}/token`,
      ...(person.subject.mode === "real" ? {} : { revocationEndpoint: `${issuer}/revoke` }),
      refreshToken: grant.refreshToken,
      clientId: person.subject.mode === "real" ? "native" : "fake-client",
      redemptionPolicy: person.subject.policy,
      replace: true
    })
    const done = status === 200 || status === 201
    deeds.push({ what: "deposit", at, end: Date.now(), connection: person.subject.id, grant: grant.id, done })
    if (done) person.connected = true
    person.grant = grant.id
    return done
  }

  /** A consent, until one is stored. One whose storing has no known end is not offered twice. */
  const consent = async (person: Person, before: (grant: Grant) => Promise<void> = async () => {}): Promise<void> => {
    const { id: connection, lifetimeSeconds, mode } = person.subject
    while (true) {
      const grant = await providers.grant({ grant: ++grants, connection, mode, lifetimeSeconds })
      await before(grant)
      if (await deposit(person, grant)) return
      await pause(100)
    }
  }

  /** Consents anew while a refresh of the older consent is under way; the provider may end the older one meanwhile. */
  const consentInTheMiddle = async (person: Person): Promise<void> => {
    const older = person.grant
    if (older === undefined) return consent(person)
    const ends = random.next() < 0.5
    await providers.hold(older)
    const refreshing = ask(person, person.token)
    await pause(80)
    await consent(person, async () => {
      if (ends) await providers.revoke(older)
    })
    await refreshing
  }

  const disconnect = async (person: Person): Promise<void> => {
    while (true) {
      const at = Date.now()
      const { status } = await callers.call(someReplica().api(), "DELETE", person.path, person.bearer)
      const done = status === 204
      deeds.push({ what: "disconnect", at, end: Date.now(), connection: person.subject.id, done })
      if (done) break
      await pause(100)
    }
    await Promise.all(replicas.map((replica) => ask(person, undefined, replica)))
  }

  /** Everybody at once, on every replica, half of them with a token that they saw refused. */
  const crowd = (person: Person): Promise<unknown> =>
    Promise.all(
      Array.from({ length: 8 }, (_, n) => ask(person, n % 2 === 0 ? person.token : undefined))
    )

  const alone = async (person: Person, act: () => Promise<unknown>): Promise<void> => {
    person.busy = true
    await act()
    person.busy = false
  }

  const turn = async (): Promise<void> => {
    const crowded = people.slice(0, Math.ceil(people.length / 20))
    const person = random.pick(random.next() < 0.15 ? crowded : people)
    if (!person.connected && !person.busy) return alone(person, () => consent(person))
    const draw = random.next()
    // A token that is refused right after it was forced is not replaced at once, so most refreshes are of what is over.
    if (draw < 0.8) return void await ask(person)
    if (draw < 0.955) return void await ask(person, person.token)
    if (draw < 0.982 || person.busy) return void await crowd(person)
    if (draw < 0.993) return alone(person, () => consentInTheMiddle(person))
    if (draw < 0.997) {
      return alone(person, async () => {
        await disconnect(person)
        await consent(person)
      })
    }
    if (person.grant !== undefined) await providers.revoke(person.grant)
  }

  return {
    calls,
    deeds,
    connect: async () => {
      const waiting = [...people]
      await Promise.all(Array.from({ length: 16 }, async () => {
        for (let person = waiting.pop(); person !== undefined; person = waiting.pop()) await consent(person)
      }))
    },
    work: async (stop) => {
      await Promise.all(Array.from({ length: options.workers }, async () => {
        while (!stop()) await turn()
      }))
    },
    finish: async (milliseconds) => {
      const waiting = [...people]
      await Promise.all(Array.from({ length: 128 }, async () => {
        for (let person = waiting.pop(); person !== undefined; person = waiting.pop()) {
          const until = Date.now() + milliseconds
          while (Date.now() < until) {
            const first = await ask(person)
            if (first.status === 404 || first.code === "reauthorization_required") break
            if (first.status === 200) break
            await pause(200)
          }
        }
      }))
    }
  }
}
