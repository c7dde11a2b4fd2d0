import { Duration } from "effect"
import type { Connection } from "../Connection.ts"

/** Connections that are remembered; a forgotten one is counted anew. */
const remembered = 10_000

/** How long a refresh token is left alone after each refusal in a row that nobody understands; the last one stays. */
const pauses = [Duration.seconds(2), Duration.minutes(1), Duration.minutes(5), Duration.minutes(15)] as const

/**
 * Counts the refusals in a row that name no error that is known, such as a page of a firewall. One may pass; so many want
 * somebody's attention. No person is asked for their sake: consenting again mends no firewall. Each process counts what it
 * heard itself.
 */
export const makeOddRefusals = () => {
  const streaks = new Map<string, { readonly generation: number; readonly length: number }>()
  const nameOf = ({ epoch, key }: Connection): string => `${key.path} ${epoch}`

  /** Counts one more, and says how long to wait after it, and whether somebody should look. */
  const count = (connection: Connection): { readonly pause: Duration.Duration; readonly isEnough: boolean } => {
    const { generation } = connection
    const name = nameOf(connection)
    const before = streaks.get(name)
    const length = before?.generation === generation ? before.length + 1 : 1
    streaks.delete(name)
    streaks.set(name, { generation, length })
    const { value: oldest } = streaks.keys().next()
    if (streaks.size > remembered && oldest !== undefined) streaks.delete(oldest)
    return { pause: pauses[length - 1] ?? pauses[3], isEnough: length > pauses.length }
  }

  /** Forgets them: something else was heard. */
  const forget = (connection: Connection): void => void streaks.delete(nameOf(connection))

  return { count, forget }
}
