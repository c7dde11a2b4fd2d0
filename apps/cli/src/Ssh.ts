import { isIP } from "node:net"
import { userInfo } from "node:os"

/** A session over SSH without a screen: browsers run at its other end. */
export interface Ssh {
  /** The address of this machine that the person's machine reached. */
  readonly address: string
  readonly port: number
  readonly user: string
}

/** The session that a command runs in, by what sshd says of it. */
export const sessionOf = (env: Readonly<Record<string, string | undefined>>): Ssh | undefined => {
  const [, , address = "", port = ""] = (env["SSH_CONNECTION"] ?? "").split(" ")
  const hasScreen = [env["DISPLAY"], env["WAYLAND_DISPLAY"]].some((name) => name !== undefined && name !== "")
  if (hasScreen || isIP(address) === 0 || !/^\d{1,5}$/.test(port)) return undefined
  return { address, port: Number(port), user: userName(env) }
}

/** The command that makes a listener of this machine reachable, under the same address, on the person's machine. */
export const forwardLine = ({ address, port, user }: Ssh, listener: URL): string => {
  const forward = listener.hostname === "[::1]"
    ? `'[::1]:${listener.port}:[::1]:${listener.port}'`
    : `${listener.port}:127.0.0.1:${listener.port}`
  return `ssh ${port === 22 ? "" : `-p ${port} `}-L ${forward} ${quoted(user)}@${address}`
}

/** Whether the host of a URL is the machine of whoever opens it. */
export const isLoopback = ({ hostname }: URL): boolean =>
  hostname === "localhost" || hostname === "127.0.0.1" || hostname === "[::1]"

const userName = (env: Readonly<Record<string, string | undefined>>): string => {
  try {
    return userInfo().username
  } catch {
    // A container may run as a user that has no name.
    return env["USER"] ?? "you"
  }
}

const quoted = (text: string): string => /^[\w.-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
