import { Duration } from "effect"
import type { Connection } from "../Connection.ts"

/** Connections, and endpoints, that are remembered; a forgotten one is counted anew. */
const remembered = 10_000

/** How long a refresh token is left alone after each refusal in a row that nobody understands; the one after these may be enough. */
const pauses = [Duration.seconds(2), Duration.minutes(1), Duration.minutes(5), Duration.minutes(15)] as const

/** No firewall stands in the way for longer without anybody mending it. */
const patience = Duration.days(1)

interface Streak {
  readonly generation: number
  readonly length: number
  /** In milliseconds. */
  readonly since: number
}

/**
 * Counts the refusals in a row that name no error that is known, such as a page of a firewall. One may pass. A token that
 * gets no other answer for so long is as good as refused, if the endpoint understood somebody else meanwhile; while it
 * understands nobody, only after a day. Each process counts what it heard itself, so none gives up too early.
 */
export const makeOddRefusals = () => {
  const streaks = new Map<string, Streak>()
  const understood = new Map<string, number>()
  const nameOf = ({ epoch, key }: Connection): string => `${key.path} ${epoch}`

  /** Counts one more, and says how long to wait after it, and whether there were enough. */
  const count = (
    connection: Connection,
    now: number
  ): { readonly pause: Duration.Duration; readonly isEnough: boolean } => {
    const { generation, grant } = connection
    const before = streaks.get(nameOf(connection))
    const streak = before?.generation === generation
      ? { ...before, length: before.length + 1 }
      : { generation, length: 1, since: now }
    remember(streaks, nameOf(connection), streak)
    const isOfToken = (understood.get(grant.tokenEndpoint) ?? -1) >= streak.since
    return {
      pause: pauses[streak.length - 1] ?? pauses[3],
      isEnough: streak.length > pauses.length && (isOfToken || now - streak.since >= Duration.toMillis(patience))
    }
  }

  /** Forgets them: something else was heard. */
  const forget = (connection: Connection): void => void streaks.delete(nameOf(connection))

  /** Forgets them, and notes that the endpoint knows what it is asked. */
  const understand = (connection: Connection, now: number): void => {
    forget(connection)
    remember(understood, connection.grant.tokenEndpoint, now)
  }

  return { count, forget, understand }
}

/** The newest stays longest. */
const remember = <A>(known: Map<string, A>, name: string, value: A): void => {
  known.delete(name)
  known.set(name, value)
  const { value: oldest } = known.keys().next()
  if (known.size > remembered && oldest !== undefined) known.delete(oldest)
}
