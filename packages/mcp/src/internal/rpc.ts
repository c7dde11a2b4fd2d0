/** Id of a request. */
export type Id = string | number

/** An error as JSON-RPC says it. */
export interface RpcError {
  readonly code: number
  readonly message: string
  readonly data?: unknown
}

/** A message of JSON-RPC 2.0, with whatever else is in it: it is passed on, and not judged. */
export interface Message {
  readonly jsonrpc: "2.0"
  readonly id?: Id | null
  readonly method?: string
  readonly params?: Readonly<Record<string, unknown>>
  readonly result?: Readonly<Record<string, unknown>>
  readonly error?: RpcError
}

/** A message that is answered. */
export interface Request extends Message {
  readonly id: Id
  readonly method: string
}

/** The messages of a text, which are several in a batch; undefined when it is no JSON-RPC. */
export const parse = (text: string): ReadonlyArray<Message> | undefined => {
  try {
    const messages = [json.parse(text, exact)].flat()
    return messages.length > 0 && messages.every(isMessage) ? messages : undefined
  } catch {
    return undefined
  }
}

/** What the types do not know yet of JSON: the text of a number when it is read, and when it is written. */
const json = JSON as unknown as {
  parse(text: string, reviver: typeof exact): unknown
  rawJSON(text: string): unknown
}

/** Keeps the text of a number that would be another one afterwards: it is passed on as it is. Ids are compared, and stay numbers. */
function exact(this: unknown, key: string, value: unknown, { source }: { readonly source?: string }): unknown {
  return typeof value !== "number" || source === undefined || Number.isSafeInteger(value) || String(value) === source ||
      key === "id" && member(this, "jsonrpc") !== undefined
    ? value
    : json.rawJSON(source)
}

export const isRequest = (message: Message): message is Request =>
  typeof message.method === "string" && (typeof message.id === "string" || typeof message.id === "number")

export const isAnswer = (message: Message): boolean => message.method === undefined

/** The member of an object that somebody else wrote. */
export const member = (value: unknown, name: string): unknown =>
  isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const isMessage = (value: unknown): value is Message =>
  isRecord(value) && value["jsonrpc"] === "2.0" &&
  (typeof value["method"] === "string" || "result" in value || isRecord(value["error"]))
