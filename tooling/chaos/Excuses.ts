import type { Faults } from "./Faults.ts"
import type { Call } from "./History.ts"

/** Why a call without an answer is no violation. */
export type Excuse =
  /** Nobody listened. */
  | "refused"
  /** Its replica was told to go, and no connection to it came about. */
  | "not connected"
  /** Its replica was told to go, and its process never had the new connection: the system reset it with the listener. */
  | "not accepted"
  /** Its replica was told to go, and ended a connection that it had kept before it read the request. */
  | "not read"
  /** Its replica was killed. */
  | "killed"
  /** The callers did not get to run, and the request was not read or its time ran out meanwhile. */
  | "starved"

/**
 * What excuses that a call was not answered, if anything does. A kill excuses whatever it ended; a replica that goes in order
 * has to answer everything that it read and everything on a new connection that it accepted.
 */
export const excuseOf = (
  faults: Faults,
  { accepted, at, end, missed, phase, read, replica }: Call
): Excuse | undefined => {
  if (missed?.includes("ECONNREFUSED") === true) return "refused"
  // What a process left behind does not reach the next one, which listens elsewhere.
  const met = faults.during(replica, at, end).filter(({ to }) => at <= to).map(({ what }) => what)
  if (met.some((what) => what.startsWith("kill"))) return "killed"
  const unread = phase === "connect"
    ? "not connected"
    : phase === "new" && accepted === false
    ? "not accepted"
    : phase === "kept" && read === false
    ? "not read"
    : undefined
  if (met.includes("term") && unread !== undefined) return unread
  return met.includes("starved") && (unread !== undefined || phase === "late") ? "starved" : undefined
}
