import { ConnectionView } from "@valetkey/api/ConnectionsApi"
import { ServerView } from "@valetkey/api/ServersApi"
import { Schema } from "effect"

/** A connection as JSON: the shape of the HTTP contract. */
export const connectionDocument: (view: ConnectionView) => typeof ConnectionView.Encoded = Schema.encodeSync(
  ConnectionView
)

/** A server as JSON: the shape of the HTTP contract. */
export const serverDocument: (view: ServerView) => typeof ServerView.Encoded = Schema.encodeSync(ServerView)
