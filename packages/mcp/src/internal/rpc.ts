/** A number as it was written, for which there is no number here. */
export interface ExactNumber {
  readonly rawJSON: string
}

/** Id of a request. */
export type Id = string | number | ExactNumber

/** The name of an id among all others: its JSON. */
export const nameOf = (id: unknown): string => JSON.stringify(id) ?? ""

/** Whether an answer to one request is by this id. A server may have written another number in place of one that it cannot hold. */
export const isAnsweredBy = (id: Id, answer: unknown): boolean =>
  nameOf(id) === nameOf(answer) ||
  typeof id !== "string" && typeof answer !== "string" && Number(nameOf(id)) === Number(nameOf(answer))

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
  rawJSON(text: string): ExactNumber
  isRawJSON(value: unknown): value is ExactNumber
}

/** Keeps the text of a number that would be another one afterwards: it is passed on as it is, and so are ids. */
const exact = (_: string, value: unknown, { source }: { readonly source?: string }): unknown =>
  typeof value !== "number" || source === undefined || String(value) === source
    ? value
    : json.rawJSON(source)

export const isRequest = (message: Message): message is Request =>
  typeof message.method === "string" &&
  (typeof message.id === "string" || typeof message.id === "number" || json.isRawJSON(message.id))

export const isAnswer = (message: Message): boolean => message.method === undefined

/** The member of an object that somebody else wrote. */
export const member = (value: unknown, name: string): unknown =>
  isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const isMessage = (value: unknown): value is Message =>
  isRecord(value) && value["jsonrpc"] === "2.0" &&
  (typeof value["method"] === "string" || "result" in value || isRecord(value["error"]))
