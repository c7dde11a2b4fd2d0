import { Context } from "effect"
import { failureSentence, type FlowFailure, type FlowState } from "./Flow.ts"
import type { FlowOutcome } from "./FlowOutcome.ts"
import * as Language from "./Language.ts"

/** What pages say of a flow in one language. A state or a failure without its words does not compile. */
export interface FlowTexts {
  /** Language tag (BCP 47), which the page carries too. */
  readonly language: string
  /** In which direction it is written. */
  readonly direction: "ltr" | "rtl"
  readonly states: { readonly [State in Exclude<FlowState, "failed">]: FlowOutcome }
  /** The title of every failure. */
  readonly failed: string
  readonly failures: { readonly [Code in FlowFailure]: string }
  /** A request that is no answer that anybody waits for. */
  readonly stray: FlowOutcome
  /** An answer that arrived, while what became of it cannot be told. */
  readonly untold: FlowOutcome
  /** The link from how a flow ended to the person's connections, where they began. */
  readonly back: string
}

/** English, which every other language is complete against. */
export const english: FlowTexts = {
  language: "en",
  direction: "ltr",
  states: {
    completed: {
      title: "Connected",
      sentence: "The connection is ready. You can close this window and go back to the program."
    },
    cancelled: { title: "Cancelled", sentence: "The connection was cancelled. Nothing was stored." },
    superseded: {
      title: "Replaced",
      sentence: "A newer attempt has replaced this one. Nothing was stored; finish the newer one."
    },
    expired: { title: "Expired", sentence: "The time to connect is over. Start again." },
    outcome_unknown: { title: "Not finished", sentence: "The provider's answer was lost on the way. Start again." },
    awaiting_finalize: {
      title: "Almost there",
      sentence: "Go back to the application that you came from; it finishes the connection."
    },
    pending: { title: "One moment", sentence: "The connection is being finished." },
    exchanging: { title: "One moment", sentence: "The connection is being finished." }
  },
  failed: "Not connected",
  failures: failureSentence,
  stray: {
    title: "Not an answer",
    sentence: "This request does not belong to a connection that is being made. Nothing was changed."
  },
  untold: {
    title: "Not known",
    sentence: "What became of the connection could not be read. Look at the program."
  },
  back: "Go on to your connections"
}

/** German. */
export const german: FlowTexts = {
  language: "de",
  direction: "ltr",
  states: {
    completed: {
      title: "Verbunden",
      sentence: "Die Verbindung steht. Sie können dieses Fenster schließen und zum Programm zurückkehren."
    },
    cancelled: { title: "Abgebrochen", sentence: "Die Verbindung wurde abgebrochen. Es wurde nichts gespeichert." },
    superseded: {
      title: "Ersetzt",
      sentence: "Ein neuerer Versuch hat diesen ersetzt. Es wurde nichts gespeichert; beenden Sie den neueren."
    },
    expired: { title: "Abgelaufen", sentence: "Die Zeit zum Verbinden ist vorbei. Beginnen Sie von vorn." },
    outcome_unknown: {
      title: "Nicht abgeschlossen",
      sentence: "Die Antwort des Anbieters ging unterwegs verloren. Beginnen Sie von vorn."
    },
    awaiting_finalize: {
      title: "Fast geschafft",
      sentence: "Gehen Sie zurück zu der Anwendung, von der Sie kamen; sie schließt die Verbindung ab."
    },
    pending: { title: "Einen Moment", sentence: "Die Verbindung wird abgeschlossen." },
    exchanging: { title: "Einen Moment", sentence: "Die Verbindung wird abgeschlossen." }
  },
  failed: "Nicht verbunden",
  failures: {
    start_failed:
      "Die Verbindung konnte nicht begonnen werden. Beginnen Sie von vorn; die Ursache steht im Protokoll des Servers.",
    access_denied:
      "Der Zugriff wurde beim Anbieter abgelehnt. Beginnen Sie von vorn, falls das nicht beabsichtigt war.",
    authorization_refused:
      "Der Anbieter hat die Anfrage abgelehnt. Prüfen Sie die verlangten Berechtigungen und die Registrierung des Clients.",
    issuer_mismatch:
      "Die Antwort kam von einem anderen Anbieter als dem gefragten. Es wurde nichts eingelöst; beginnen Sie von vorn.",
    malformed_response:
      "Die Antwort des Anbieters war fehlerhaft. Beginnen Sie von vorn; wiederholt es sich, melden Sie es dem Anbieter.",
    response_mode_mismatch:
      "Die Antwort des Anbieters kam nicht in der verlangten Form, signiert oder unsigniert. Es wurde nichts eingelöst; prüfen Sie, ob sie unterwegs verändert wurde, und welche Antwortformen der Anbieter kennt.",
    response_untrusted:
      "Der signierten Antwort des Anbieters ist nicht zu trauen. Es wurde nichts eingelöst; das Protokoll des Servers nennt die Prüfung, die misslang.",
    code_rejected: "Der Anbieter hat den Code abgelehnt. Beginnen Sie von vorn.",
    client_misconfigured:
      "Der Anbieter hat diesen Client abgelehnt. Prüfen Sie die Registrierung des Clients und beginnen Sie von vorn.",
    authorization_server_unavailable: "Der Anbieter ist zurzeit nicht erreichbar. Versuchen Sie es später noch einmal.",
    token_response_invalid:
      "Die Antwort des Anbieters war nicht zu verstehen. Die Ursache steht im Protokoll des Servers.",
    id_token_invalid:
      "Der Aussage des Anbieters, wer sich angemeldet hat, ist nicht zu trauen. Es wurde nichts gespeichert; prüfen Sie Aussteller und Client des Servers und beginnen Sie von vorn.",
    account_changed:
      "Beim Anbieter hat sich ein anderes Konto angemeldet als das dieser Verbindung; sie bleibt, wie sie war. Melden Sie sich dort mit jenem Konto an, oder trennen Sie erst die Verbindung, um ein anderes zu verbinden.",
    account_unconfirmed:
      "Der Anbieter hat nicht gesagt, welches Konto sich angemeldet hat, und diese Verbindung gehört zu einem bekannten; sie bleibt, wie sie war. Verlangen Sie die Berechtigung openid, oder trennen Sie erst die Verbindung.",
    encryption_key_missing:
      "Es ist kein Schlüssel zum Verschlüsseln da, deshalb wurde nichts gespeichert. Stellen Sie den Schlüssel wieder her und beginnen Sie von vorn.",
    encryption_key_unavailable:
      "Der Schlüssel dieses Versuchs ist nicht auf dem Server, der die Antwort bekam. Fügen Sie ihn dort hinzu und beginnen Sie von vorn.",
    encryption_key_mismatch:
      "Ein Schlüssel des Servers ist nicht der, den die Installation kennt. Stellen Sie den richtigen wieder her und beginnen Sie von vorn.",
    instance_mismatch:
      "Die Datenbank gehört zu einer anderen Installation als der Server, der die Antwort bekam. Es wurde nichts eingelöst.",
    integrity_error:
      "Was zu diesem Versuch gespeichert war, wurde verändert, deshalb wurde nichts eingelöst. Beginnen Sie von vorn, und stellen Sie fest, wer die Datenbank ändert.",
    storage_failed:
      "Die Zugangsdaten konnten nicht gespeichert werden. Prüfen Sie die Datenbank und beginnen Sie von vorn."
  },
  stray: {
    title: "Keine Antwort",
    sentence: "Diese Anfrage gehört zu keiner Verbindung, die gerade hergestellt wird. Es wurde nichts geändert."
  },
  untold: {
    title: "Unbekannt",
    sentence: "Was aus der Verbindung wurde, war nicht zu lesen. Sehen Sie im Programm nach."
  },
  back: "Weiter zu Ihren Verbindungen"
}

/** The languages of pages about flows, the one for everybody else first. An application provides more or others. */
export const FlowLanguages = Context.Reference<readonly [FlowTexts, ...ReadonlyArray<FlowTexts>]>(
  "@valetkey/domain/FlowTexts/FlowLanguages",
  { defaultValue: () => [english, german] }
)

/** The texts, of those available, in the language that a browser asks for. */
export const inLanguageOf = <Texts extends { readonly language: string }>(
  header: string | undefined,
  [first, ...others]: readonly [Texts, ...ReadonlyArray<Texts>]
): Texts => {
  const language = Language.choose(header, [first.language, ...others.map(({ language }) => language)])
  return others.find((texts) => texts.language === language) ?? first
}
