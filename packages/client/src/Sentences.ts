// Plain text, for clients with and without Effect.

/** Why no answer came. */
export type UnreachableReason =
  /** Nobody listens. */
  | "not_running"
  /** The socket, its directory or the token file could be somebody else's; no byte was sent. */
  | "not_ours"
  /** The connection ended before the answer was complete. */
  | "disconnected"
  /** No answer came in time. */
  | "timeout"

/** What a person is told when no answer came. */
export const unreachable = (reason: UnreachableReason, address: string): string => {
  switch (reason) {
    case "not_running":
      return `No Valetkey server answers at ${address}. Is it running? Start one with \`valetkey serve\`.`
    case "not_ours":
      return `${address} was not used: the socket, its directory or the token file could have been made by somebody else. Check that they belong to you and are closed to others.`
    case "disconnected":
      return `The connection to the Valetkey server at ${address} broke before it answered; try again.`
    case "timeout":
      return `The Valetkey server at ${address} did not answer in time; try again.`
  }
}

/** What a person is told when an answer is not what the contract says; without a status it was no HTTP at all. */
export const unexpected = (address: string, status: number | undefined): string =>
  `Unexpected response from ${address}${
    status === undefined ? "" : ` (HTTP ${status})`
  }: it is not a Valetkey server of this version. Check the address and restart the server.`
