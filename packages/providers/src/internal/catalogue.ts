import airtable from "../presets/airtable.json" with { type: "json" }
import asana from "../presets/asana.json" with { type: "json" }
import atlassianMcp from "../presets/atlassian-mcp.json" with { type: "json" }
import auth0 from "../presets/auth0.json" with { type: "json" }
import bitbucket from "../presets/bitbucket.json" with { type: "json" }
import box from "../presets/box.json" with { type: "json" }
import calendly from "../presets/calendly.json" with { type: "json" }
import canvaMcp from "../presets/canva-mcp.json" with { type: "json" }
import canva from "../presets/canva.json" with { type: "json" }
import clickup from "../presets/clickup.json" with { type: "json" }
import cloudflareMcp from "../presets/cloudflare-mcp.json" with { type: "json" }
import confluence from "../presets/confluence.json" with { type: "json" }
import digitalocean from "../presets/digitalocean.json" with { type: "json" }
import discord from "../presets/discord.json" with { type: "json" }
import docusign from "../presets/docusign.json" with { type: "json" }
import dropbox from "../presets/dropbox.json" with { type: "json" }
import facebook from "../presets/facebook.json" with { type: "json" }
import gitea from "../presets/gitea.json" with { type: "json" }
import github from "../presets/github.json" with { type: "json" }
import gitlab from "../presets/gitlab.json" with { type: "json" }
import gmail from "../presets/gmail.json" with { type: "json" }
import googleCalendar from "../presets/google-calendar.json" with { type: "json" }
import googleDrive from "../presets/google-drive.json" with { type: "json" }
import heroku from "../presets/heroku.json" with { type: "json" }
import hubspot from "../presets/hubspot.json" with { type: "json" }
import intercom from "../presets/intercom.json" with { type: "json" }
import jira from "../presets/jira.json" with { type: "json" }
import keycloak from "../presets/keycloak.json" with { type: "json" }
import linearMcp from "../presets/linear-mcp.json" with { type: "json" }
import linear from "../presets/linear.json" with { type: "json" }
import mailchimp from "../presets/mailchimp.json" with { type: "json" }
import microsoftGraph from "../presets/microsoft-graph.json" with { type: "json" }
import miro from "../presets/miro.json" with { type: "json" }
import monday from "../presets/monday.json" with { type: "json" }
import notionMcp from "../presets/notion-mcp.json" with { type: "json" }
import notion from "../presets/notion.json" with { type: "json" }
import okta from "../presets/okta.json" with { type: "json" }
import pipedrive from "../presets/pipedrive.json" with { type: "json" }
import quickbooks from "../presets/quickbooks.json" with { type: "json" }
import reddit from "../presets/reddit.json" with { type: "json" }
import salesforce from "../presets/salesforce.json" with { type: "json" }
import sentryMcp from "../presets/sentry-mcp.json" with { type: "json" }
import sentry from "../presets/sentry.json" with { type: "json" }
import shopify from "../presets/shopify.json" with { type: "json" }
import slackBot from "../presets/slack-bot.json" with { type: "json" }
import slack from "../presets/slack.json" with { type: "json" }
import spotify from "../presets/spotify.json" with { type: "json" }
import square from "../presets/square.json" with { type: "json" }
import strava from "../presets/strava.json" with { type: "json" }
import stripeConnect from "../presets/stripe-connect.json" with { type: "json" }
import stripeMcp from "../presets/stripe-mcp.json" with { type: "json" }
import todoist from "../presets/todoist.json" with { type: "json" }
import twitch from "../presets/twitch.json" with { type: "json" }
import typeform from "../presets/typeform.json" with { type: "json" }
import vercel from "../presets/vercel.json" with { type: "json" }
import webex from "../presets/webex.json" with { type: "json" }
import x from "../presets/x.json" with { type: "json" }
import xero from "../presets/xero.json" with { type: "json" }
import zendesk from "../presets/zendesk.json" with { type: "json" }
import zoom from "../presets/zoom.json" with { type: "json" }

/** The files of this package, one a provider, as they are. */
export const catalogue: ReadonlyArray<unknown> = [
  airtable,
  asana,
  atlassianMcp,
  auth0,
  bitbucket,
  box,
  calendly,
  canva,
  canvaMcp,
  clickup,
  cloudflareMcp,
  confluence,
  digitalocean,
  discord,
  docusign,
  dropbox,
  facebook,
  gitea,
  github,
  gitlab,
  gmail,
  googleCalendar,
  googleDrive,
  heroku,
  hubspot,
  intercom,
  jira,
  keycloak,
  linear,
  linearMcp,
  mailchimp,
  microsoftGraph,
  miro,
  monday,
  notion,
  notionMcp,
  okta,
  pipedrive,
  quickbooks,
  reddit,
  salesforce,
  sentry,
  sentryMcp,
  shopify,
  slack,
  slackBot,
  spotify,
  square,
  strava,
  stripeConnect,
  stripeMcp,
  todoist,
  twitch,
  typeform,
  vercel,
  webex,
  x,
  xero,
  zendesk,
  zoom
]
