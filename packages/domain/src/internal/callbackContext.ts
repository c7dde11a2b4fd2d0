import type { ConnectionKey } from "../Connection.ts"
import type { Entropy } from "../Entropy.ts"
import { rowOf } from "../Sealed.ts"

/** What names a connection in its redirect URI where endpoints are shared; a callback on another one matches nothing. */
export const callbackContext = (
  entropy: Entropy["Service"],
  { server, tenant }: Pick<ConnectionKey, "server" | "tenant">
): string => entropy.digestOf(rowOf(tenant, server))
