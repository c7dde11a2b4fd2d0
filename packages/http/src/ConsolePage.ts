import type { ApiProblem } from "@valetkey/api/ApiProblem"
import type { ConnectionView, HistoryEvent, HistoryView } from "@valetkey/api/ConnectionsApi"
import type { ServerView } from "@valetkey/api/ServersApi"
import type { ConsoleInvitation } from "@valetkey/domain/Consoles"
import type { ConsoleSession } from "@valetkey/domain/ConsoleSession"
import { DateTime, Redacted } from "effect"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Page from "./Page.ts"
import type { PageTexts } from "./PageTexts.ts"

type Response = HttpServerResponse.HttpServerResponse

/** What every page of the console knows. */
export interface Frame {
  readonly texts: PageTexts
  /** Path of the public URL, before every link. */
  readonly basePath: string
}

/** A page within a session: whose it is, and what its forms send back. */
export interface Signed extends Frame {
  readonly session: ConsoleSession
  readonly token: string
}

/** The page behind a link: who acts as whom from here on. */
export const invitation = ({ texts }: Frame, { compareCode, session }: ConsoleInvitation, token: string): Response => {
  const { console } = texts
  const whose = bdi(whoseOf(texts, session))
  return Page.page(
    console.signIn,
    `<p>${Page.fill(console.signInText, { whose })}</p>` +
      `<p>${Page.escape(console.signInCode)}<strong>${bdi(compareCode)}</strong></p>` +
      `<p>${Page.escape(console.signInOther)}</p>` + form(token, Page.fill(console.signInGo, { whose })),
    { texts, headers: Page.formHeaders }
  )
}

/** A page of the connections, and one of what else may be connected. Each list goes on while the other stays where it is. */
export const connections = (frame: Signed, { after, connections, next, nextPast, past, servers }: {
  readonly connections: ReadonlyArray<ConnectionView>
  /** Where the page of connections begins, and where the next one does. */
  readonly after: string | undefined
  readonly next: string | undefined
  /** Those that are not connected. */
  readonly servers: ReadonlyArray<ServerView>
  /** Where the page of servers begins, and where the next one does. */
  readonly past: string | undefined
  readonly nextPast: string | undefined
}): Response => {
  const { basePath, session, texts, token } = frame
  const { console } = texts
  const more = (places: Readonly<Record<string, string | undefined>>) => {
    const set = Object.entries(places).filter((place): place is [string, string] => place[1] !== undefined)
    return link(`${basePath}/connections?${String(new URLSearchParams(set))}`, Page.escape(console.more))
  }
  return Page.page(
    console.title,
    `<p>${Page.fill(console.signedInAs, { whose: bdi(whoseOf(texts, session)) })}</p>` +
      (connections.length === 0 && after === undefined ? `<p>${Page.escape(console.none)}</p>` : "") +
      connections.map((one) =>
        `<section><h2>${anchor(linkTo(frame, one.server), bdi(one.server))}</h2>${
          facts(healthOf(texts, one))
        }</section>`
      ).join("") +
      (next === undefined ? "" : more({ after: next, past })) +
      (servers.length === 0 && nextPast === undefined || !may(session, "flows:write") ?
        "" :
        `<section><h2>${Page.escape(console.known)}</h2>` +
        (servers.length === 0 ?
          "" :
          `<ul>${
            servers.map(({ server }) =>
              `<li>${
                anchor(`${linkTo(frame, server)}/connect`, Page.fill(console.connect, { server: bdi(server) }))
              }</li>`
            ).join("")
          }</ul>`) +
        (nextPast === undefined ? "" : more({ after, past: nextPast })) + "</section>") +
      form(token, Page.escape(console.signOut)),
    { texts, headers: Page.formHeaders }
  )
}

/** One connection and what happened to it. `connection` is undefined when it is gone. */
export const connection = (frame: Signed, server: string, found: {
  readonly connection: ConnectionView | undefined
  readonly history: HistoryView
}): Response => {
  const { session, texts } = frame
  const { console } = texts
  const { connection, history: { events, next } } = found
  const isThere = connection !== undefined && connection.status !== "revoking"
  const actions = [
    ...(may(session, "flows:write")
      ? [[`/connect`, isThere ? console.reconnect : console.connect] as const]
      : []),
    ...(isThere && may(session, "connections:write") ? [[`/disconnect`, console.disconnect] as const] : [])
  ]
  return Page.page(
    server,
    (connection === undefined ? "" : facts([
      ...healthOf(texts, connection),
      [console.provider, bdi(hostOf(connection.issuer))],
      [console.since, time(texts, connection.createdAt)]
    ])) +
      (actions.length === 0 ?
        "" :
        `<ul>${
          actions.map(([path, text]) =>
            `<li>${anchor(`${linkTo(frame, server)}${path}`, Page.fill(text, { server: bdi(server) }))}</li>`
          ).join("")
        }</ul>`) +
      `<section><h2>${Page.escape(console.history)}</h2>` +
      (events.length === 0
        ? `<p>${Page.escape(console.noHistory)}</p>`
        : `<ol>${events.map((event) => `<li>${eventOf(texts, event)}</li>`).join("")}</ol>`) +
      (next === undefined
        ? ""
        : link(`${linkTo(frame, server)}?before=${encodeURIComponent(next)}`, Page.escape(console.earlier))) +
      "</section>" + back(frame),
    { texts }
  )
}

/** What will happen when a connection is made, and the button for it. */
export const askConnect = (frame: Signed, server: string, again: boolean): Response => {
  const { console } = frame.texts
  const [title, text] = again ? [console.reconnect, console.reconnectText] : [console.connect, console.connectText]
  return ask(frame, server, title, text, title)
}

/** What will happen when a connection is ended, and the button for it. */
export const askDisconnect = (frame: Signed, server: string): Response => {
  const { console } = frame.texts
  return ask(frame, server, console.disconnect, console.disconnectText, console.disconnectGo)
}

const ask = (frame: Signed, server: string, title: string, text: string, go: string): Response => {
  const parts = { server: bdi(server) }
  return Page.page(
    Page.fillPlain(title, { server }),
    `<p>${Page.fill(text, parts)}</p>` + form(frame.token, Page.fill(go, parts)) + back(frame),
    { texts: frame.texts, headers: Page.formHeaders }
  )
}

/** The way on to the connect page of a flow that was started, with the code that it must show. */
export const started = (frame: Frame, connectUrl: Redacted.Redacted, compareCode: string): Response => {
  const { console } = frame.texts
  const { pathname } = new URL(Redacted.value(connectUrl))
  return Page.page(
    console.started,
    `<p>${Page.escape(console.startedCode)}<strong>${bdi(compareCode)}</strong></p>` +
      link(pathname, Page.escape(console.startedGo)) + back(frame),
    { texts: frame.texts }
  )
}

/** Why an operation was refused, in the words of the contract. */
export const problem = (frame: Frame, { code, detail, status }: ApiProblem): Response => {
  const { console } = frame.texts
  return Page.page(
    code === "forbidden" ? console.forbidden : console.failed,
    `<p lang="en">${bdi(detail)}</p>${back(frame)}`,
    { texts: frame.texts, status }
  )
}

/** A browser that sends nothing back which it was given, as Safari does over http. */
export const noCookie = ({ texts }: Frame): Response =>
  Page.sentence(texts.console.refused, texts.console.noCookieText, { texts, status: 403 })

/** The pages of one sentence. */
export const sentence = (
  { texts }: Frame,
  which: "gone" | "taken" | "signedOut" | "refused" | "notNow" | "signedOutDone"
): Response => {
  const status = { gone: 404, taken: 403, signedOut: 403, refused: 403, notNow: 503, signedOutDone: 200 }[which]
  return Page.sentence(texts.console[which], texts.console[`${which}Text`], {
    texts,
    status,
    ...(which === "notNow" ? { headers: { "retry-after": "2" } } : {})
  })
}

const healthOf = (
  texts: PageTexts,
  { account, expiresAt, forecast, lastUsedAt, reason, scopes, status }: ConnectionView
): ReadonlyArray<readonly [term: string, markup: string]> => {
  const { console } = texts
  return [
    [console.status, Page.escape(console[status])],
    ...(reason === undefined ? [] : [[console.reason, Page.escape(console.reasons[reason])] as const]),
    ...(account === undefined ? [] : [[console.account, bdi(account.label ?? account.id)] as const]),
    ...(status === "active"
      ? [[console.expires, expiresAt === undefined ? Page.escape(console.noEnd) : time(texts, expiresAt)] as const]
      : []),
    ...(forecast?.idlesOutAt === undefined
      ? []
      : [[console.idlesOut, Page.fill(console.idlesOutText, { time: time(texts, forecast.idlesOutAt) })] as const]),
    ...(forecast?.signInBefore === undefined
      ? []
      : [[console.signInBefore, time(texts, forecast.signInBefore)] as const]),
    [
      console.scopes,
      scopes === undefined || scopes.length === 0 ? Page.escape(console.noScopes) : bdi(scopes.join(" "))
    ],
    [
      console.lastUsed,
      lastUsedAt === undefined
        ? Page.escape(console.neverUsed)
        : Page.fill(console.lastUsedText, { time: time(texts, lastUsedAt) })
    ]
  ]
}

const eventOf = (texts: PageTexts, event: HistoryEvent): string => {
  const { console } = texts
  const details = [
    ...(event.generation === undefined
      ? []
      : [Page.fill(console.generation, { generation: Page.escape(String(event.generation)) })]),
    ...(event.answer === undefined
      ? []
      : [Page.fill(console.answer, { answer: `<code>${Page.escape(event.answer)}</code>` })]),
    ...(event.fingerprint === undefined
      ? []
      : [Page.fill(console.fingerprint, { fingerprint: `<code>${Page.escape(event.fingerprint)}</code>` })]),
    Page.fill(console.by, { principal: Page.escape(console.principals[event.principal]) })
  ]
  return `${time(texts, event.at)} ${sentenceOf(texts, event)} <small>${details.join(" · ")}</small>`
}

const sentenceOf = (texts: PageTexts, { action, outcome }: HistoryEvent): string => {
  const { console: { events, reasons }, flow } = texts
  const say = (text: string, more?: string | undefined) =>
    Page.escape(more === undefined ? `${text}.` : `${text}. ${more}`)
  switch (action) {
    case "flow.started":
      return say(events.flow_started)
    case "flow.settled":
      return outcome === "completed"
        ? say(events.flow_completed)
        : say(events.flow_ended, textOf(flow.failures, outcome) ?? textOf(flow.states, outcome)?.sentence)
    case "flow.grant_left":
      return say(events.grant_left)
    case "token.refreshed":
      return say(events.token_refreshed)
    case "token.refresh_failed":
      return say(events[textOf(refreshFailures, outcome) ?? "refresh_later"])
    case "connection.ending":
      return say(events[outcome === "lifetime" ? "ends_lifetime" : "ends_idle"])
    case "connection.needs_consent":
      return say(events.needs_consent, textOf(reasons, outcome))
    case "connection.account_replaced":
      return say(events.account_replaced)
    case "connection.deposited":
      return say(events.deposited)
    case "connection.disconnected":
      return say(events.disconnected)
    case "connection.exported":
      return say(events.exported)
    case "connection.forgotten":
      return say(events.forgotten)
    case "connection.revoked":
      return `${say(events.revoked)} <code>${Page.escape(outcome)}</code>`
    case "connection.rolled_back":
      return say(events.rolled_back)
    default:
      return Page.fill(events.other, { action: `<code>${Page.escape(action)}</code>` })
  }
}

const refreshFailures = {
  Terminal: "refresh_refused",
  Configuration: "refresh_misconfigured",
  Transient: "refresh_later",
  UnknownOutcome: "refresh_unknown"
} as const

/** What a table says of a code, which may be one that it does not know. */
const textOf = <Table extends object>(table: Table, code: string): Table[keyof Table] | undefined =>
  Object.hasOwn(table, code) ? table[code as keyof Table] : undefined

const may = ({ scopes }: ConsoleSession, scope: string): boolean => scopes.includes(scope)

const whoseOf = ({ console }: PageTexts, { subject, tenant }: ConsoleSession): string =>
  Page.fillPlain(console.whose, { subject, tenant })

const hostOf = (url: string): string => URL.parse(url)?.host ?? url

const linkTo = ({ basePath }: Frame, server: string): string => `${basePath}/connections/${encodeURIComponent(server)}`

const back = (frame: Frame): string => link(`${frame.basePath}/connections`, Page.escape(frame.texts.console.back))

const link = (href: string, markup: string): string => `<p>${anchor(href, markup)}</p>`

const anchor = (href: string, markup: string): string => `<a href="${Page.escape(href)}">${markup}</a>`

/** A form that goes to the address of its page. */
const form = (token: string, button: string): string =>
  `<form method="post"><input type="hidden" name="token" value="${Page.escape(token)}">` +
  `<button type="submit">${button}</button></form>`

const facts = (list: ReadonlyArray<readonly [term: string, markup: string]>): string =>
  `<dl>${list.map(([term, markup]) => `<dt>${Page.escape(term)}</dt><dd>${markup}</dd>`).join("")}</dl>`

// Isolated, because a name may hold letters that turn the direction of what follows.
const bdi = (value: string): string => `<bdi>${Page.escape(value)}</bdi>`

/** An instant as people of the language write it, in the one zone that needs no script. */
const time = ({ flow: { language } }: PageTexts, instant: DateTime.Utc): string => {
  const format = new Intl.DateTimeFormat([language, "en"], { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" })
  return `<time datetime="${DateTime.formatIso(instant)}">${
    Page.escape(format.format(DateTime.toEpochMillis(instant)))
  } UTC</time>`
}
