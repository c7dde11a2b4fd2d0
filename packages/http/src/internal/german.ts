import { german as flow } from "@valetkey/domain/FlowTexts"
import type { PageTexts } from "../PageTexts.ts"

/** The pages in German. */
export const german: PageTexts = {
  flow,
  connect: {
    title: "{server} verbinden",
    asks:
      "{whose} möchte auf Ihr Konto bei {resource} zugreifen. Fahren Sie nur fort, wenn das Sie sind und Sie das selbst begonnen haben.",
    whose: "{subject} von {tenant}",
    server: "Verbinden mit",
    owner: "Die Verbindung wird gehören",
    provider: "Sie melden sich an bei",
    scopes: "Damit darf genutzt werden",
    noScopes: "was der Anbieter von sich aus gewährt",
    back: "Sie kommen zurück zu",
    unknownHost: "unbekannt",
    code: "Das Programm, das Sie gestartet haben, zeigt diesen Code:",
    otherCode:
      "Zeigt es einen anderen oder haben Sie nichts begonnen, schließen Sie diese Seite: Jemand könnte es auf Ihr Konto abgesehen haben.",
    go: "Weiter zu {provider}",
    leaving: "Einen Moment",
    gone: "Unbekannt",
    goneText:
      "Dieser Link ist ungültig oder seine Zeit ist vorbei. Beginnen Sie von vorn in dem Programm, von dem Sie ihn haben.",
    taken: "Anderswo geöffnet",
    takenText:
      "Dieser Link wurde in einem anderen Browser benutzt und gilt nur dort. Waren das nicht Sie, brechen Sie im Programm ab und beginnen Sie von vorn.",
    refused: "Nicht von hier gesendet",
    refusedText:
      "Der Browser hat nicht gesagt, dass er von dieser Seite kommt, oder er behält keine Cookies. Es wurde nichts geändert: Erlauben Sie Cookies, öffnen Sie den Link noch einmal und gehen Sie von dort aus weiter.",
    notNow: "Jetzt nicht",
    notNowText:
      "Die Verbindung konnte gerade nicht begonnen werden. Öffnen Sie den Link gleich noch einmal; wiederholt es sich, beginnen Sie von vorn."
  },
  arrival: {
    stray: "Keine Antwort",
    strayText:
      "Diese Anfrage gehört zu keiner Verbindung, die in diesem Browser hergestellt wird. Es wurde nichts geändert. Wenn Sie etwas verbinden, beginnen und beenden Sie es im selben Browser und erlauben Sie Cookies.",
    unknown: "Unbekannt",
    unknownText: "Hier gibt es nichts zu sehen.",
    notNow: "Jetzt nicht",
    notNowText:
      "Die Antwort konnte gerade nicht angenommen werden. Laden Sie diese Seite gleich neu; wiederholt es sich, beginnen Sie von vorn."
  },
  console: {
    signIn: "Anmelden",
    signInText:
      "Sie haben in diesem Browser um Zugang zur Konsole von Valetkey gebeten. Wer von hier aus weitergeht, handelt als {whose}.",
    signInCode: "Das Programm, von dem Sie den Link haben, zeigt diesen Code:",
    signInOther:
      "Zeigt es einen anderen oder haben Sie um nichts gebeten, schließen Sie diese Seite: Jemand könnte wollen, dass Sie für ihn handeln.",
    signInGo: "Als {whose} anmelden",
    gone: "Unbekannt",
    goneText:
      "Dieser Link ist ungültig oder seine Zeit ist vorbei. Holen Sie dort einen neuen, wo Sie diesen bekommen haben: valetkey console.",
    taken: "Schon benutzt",
    takenText:
      "Dieser Link hat einen Browser eingelassen und lässt keinen weiteren ein. Waren das nicht Sie, sagen Sie es dem Betreiber dieses Servers; mit einem neuen Link geht es weiter.",
    signedOut: "Nicht angemeldet",
    signedOutText:
      "In diesem Browser ist niemand angemeldet oder die Zeit ist vorbei. Holen Sie einen Link mit valetkey console oder in der Anwendung, von der Sie kamen.",
    refused: "Nicht von hier gesendet",
    refusedText:
      "Der Browser hat nicht gesagt, dass er von dieser Seite kommt, oder die Seite ist älter als Ihre Anmeldung. Es wurde nichts geändert: Gehen Sie zurück, laden Sie die Seite neu und versuchen Sie es noch einmal.",
    noCookieText:
      "Der Browser hat keines der Cookies dieser Seiten zurückgeschickt, und ohne eines kann er nicht eingelassen werden. Es wurde nichts geändert, und der Link gilt noch. Erlauben Sie Cookies. Safari behält keine von Seiten über http, auch nicht auf dem eigenen Rechner: Öffnen Sie den Link in einem anderen Browser, oder lassen Sie den Server über https erreichen.",
    forbidden: "Nicht erlaubt",
    failed: "Das hat nicht geklappt",
    notNow: "Jetzt nicht",
    notNowText: "Das war gerade nicht zu zeigen. Laden Sie die Seite gleich neu.",
    title: "Ihre Verbindungen",
    whose: "{subject} von {tenant}",
    signedInAs: "Angemeldet als {whose}.",
    signOut: "Abmelden",
    signedOutDone: "Abgemeldet",
    signedOutDoneText: "Dieser Browser ist abgemeldet. Sie können dieses Fenster schließen.",
    none: "Es ist noch nichts verbunden.",
    more: "Mehr",
    back: "Alle Verbindungen",
    known: "Das können Sie verbinden",
    connect: "{server} verbinden",
    connectText:
      "Sie werden beim Anbieter von {server} um Zugriff gebeten und kommen zurück, wenn Sie entschieden haben.",
    reconnect: "{server} neu verbinden",
    reconnectText:
      "Sie werden beim Anbieter von {server} noch einmal gefragt. Was jetzt verbunden ist, bleibt es, bis Sie zugestimmt haben.",
    started: "Fast geschafft",
    startedCode: "Die nächste Seite muss diesen Code zeigen:",
    startedGo: "Weiter",
    disconnect: "{server} trennen",
    disconnectText:
      "Von da an bekommt kein Programm mehr ein Token für {server}, und der Anbieter soll die Erlaubnis beenden. Das lässt sich nicht rückgängig machen: Um es wieder zu nutzen, verbinden Sie neu.",
    disconnectGo: "Trennen",
    status: "Zustand",
    active: "funktioniert",
    needs_reauth: "Sie müssen sich neu anmelden",
    revoking: "getrennt",
    quarantined: "vom Betreiber dieses Servers stillgelegt",
    reason: "Warum",
    expires: "Zugriffstoken bis",
    noEnd: "ohne Ende",
    scopes: "Darf nutzen",
    noScopes: "was der Anbieter von sich aus gewährt hat",
    idlesOut: "Verfällt unbenutzt",
    idlesOutText: "{time}, wenn sie nicht vorher erneuert wird",
    signInBefore: "Neu anmelden vor",
    lastUsed: "Zuletzt benutzt",
    lastUsedText: "{time}, auf eine Minute genau",
    neverUsed: "keine Benutzung verzeichnet",
    account: "Konto",
    provider: "Anbieter",
    since: "Seit",
    history: "Was geschah",
    earlier: "Früher",
    noHistory: "Es ist nichts verzeichnet.",
    generation: "Generation {generation}",
    fingerprint: "Geheimnis {fingerprint}",
    answer: "der Anbieter sagte {answer}",
    by: "durch {principal}",
    reasons: {
      refresh_token_rejected: "Der Anbieter hat das Refresh-Token abgelehnt.",
      unknown_outcome:
        "Die Antwort des Anbieters auf eine Erneuerung ging verloren; niemand weiß, ob das Token noch gilt.",
      no_refresh_token: "Der Anbieter gab kein Refresh-Token.",
      restored_credentials: "Das gespeicherte Token stammt aus einer Sicherung und wurde seither benutzt.",
      account_changed: "Beim Anbieter wurde ein anderes Konto benutzt.",
      refresh_token_idled_out: "Die Verbindung wurde länger nicht benutzt, als der Anbieter es zulässt.",
      grant_expired: "Der Anbieter beendet jede Erlaubnis nach einer gewissen Zeit, und diese war um."
    },
    principals: {
      jwt: "ein signiertes Token",
      api_key: "einen API-Schlüssel",
      local: "den Besitzer dieses Rechners",
      console: "diese Konsole",
      system: "den Server selbst"
    },
    events: {
      flow_started: "Eine Anmeldung wurde begonnen",
      flow_completed: "Sie haben sich angemeldet, und die Verbindung wurde gespeichert",
      flow_ended: "Eine Anmeldung endete ohne Verbindung",
      grant_left:
        "Die Tokens eines anderen Kontos wurden verworfen; dessen Erlaubnis blieb bestehen, denn andere nutzen denselben Client",
      token_refreshed: "Das Token wurde erneuert",
      refresh_refused: "Der Anbieter hat es abgelehnt, das Token zu erneuern",
      refresh_misconfigured: "Der Anbieter hat den Client abgelehnt, nicht Sie",
      refresh_later: "Der Anbieter konnte das Token zu dieser Zeit nicht erneuern",
      refresh_unknown: "Die Antwort des Anbieters ging verloren",
      ends_idle: "Die Verbindung verfällt bald; bisher ließ sie sich nicht erneuern",
      ends_lifetime: "Der Anbieter beendet diese Erlaubnis bald; melden Sie sich vorher neu an",
      needs_consent: "Von hier an mussten Sie sich neu anmelden",
      account_replaced: "Ein anderes Konto trat an die Stelle des vorigen",
      deposited: "Ein Programm hat Zugangsdaten gespeichert",
      disconnected: "Die Verbindung wurde beendet",
      exported: "Die Zugangsdaten wurden exportiert",
      forgotten: "Die Verbindung wurde hier vergessen; die Erlaubnis blieb bestehen",
      revoked: "Der Anbieter sollte die Erlaubnis beenden",
      rolled_back: "Der gespeicherte Stand ging in der Zeit zurück",
      other: "Ereignis {action}"
    }
  }
}
