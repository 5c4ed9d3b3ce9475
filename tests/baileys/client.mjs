// An unmodified Baileys client that a test drives: events as JSON lines on stdout, commands as JSON lines on stdin.
//
//   node client.mjs --url ws://127.0.0.1:PORT/ws/chat --name NAME [--trace]
//
// Events:   qr {qr}, code {code} (to be entered on the phone), open {}, close {code} (no code when this side closed),
//           history {chats, messages, contacts} (how many of each; one event for each piece that the phone sends),
//           message {from, id, text, fromMe, media} (media: {kind, mimetype, size, sha256, seconds, isVoice, hasThumbnail}, once
//           it is downloaded and decrypted), receipt {chat, id, status} (`WebMessageInfo.Status`),
//           reaction {id, text}, edited {id, text}, revoked {id}, vote {id, options} (id: the message that it is about),
//           sent {id} (after each command that sends), exists {number, exists}, error {command, error}
// Commands: code {number} (once there is a QR code; links without scanning it); send {to, text};
//           image {to, path, caption}; voice {to, path, seconds}; poll {to, name, options};
//           read, react {text}, edit {text} and revoke, each with the {id} of a message that came or was sent here;
//           typing {to, state} (composing or paused); exists {number}; reconnect; quit
// Credentials live in memory. After the pairing's restart (515) it reconnects by itself. Media hosts are trusted through
// NODE_EXTRA_CA_CERTS.

import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import makeWASocket, {
	BufferJSON,
	DisconnectReason,
	decryptPollVote,
	downloadMediaMessage,
	initAuthCreds,
	jidNormalizedUser,
	makeCacheableSignalKeyStore
} from '@whiskeysockets/baileys'

const option = name => {
	const at = process.argv.indexOf(`--${name}`)
	return at < 0 ? undefined : process.argv[at + 1]
}
const url = option('url')
const name = option('name') ?? 'Baileys'
const trace = process.argv.includes('--trace')
if (!url) {
	process.stderr.write('usage: node client.mjs --url ws://127.0.0.1:PORT/ws/chat --name NAME [--trace]\n')
	process.exit(2)
}

// The Signal library talks on the console; stdout is for events only.
for (const method of ['log', 'info', 'warn', 'debug']) console[method] = trace ? console.error : () => {}

const emit = (event, fields = {}) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`)

// Keys are stored as text and read back, so that nothing the library keeps using can be changed from outside.
const memoryKeys = () => {
	const store = new Map()
	return {
		get: async (type, ids) => {
			const found = {}
			for (const id of ids) {
				const value = store.get(`${type}:${id}`)
				if (value !== undefined) found[id] = JSON.parse(value, BufferJSON.reviver)
			}
			return found
		},
		set: async data => {
			for (const [type, entries] of Object.entries(data)) {
				for (const [id, value] of Object.entries(entries)) {
					if (value) store.set(`${type}:${id}`, JSON.stringify(value, BufferJSON.replacer))
					else store.delete(`${type}:${id}`)
				}
			}
		}
	}
}

const logger = {
	level: trace ? 'trace' : 'silent',
	child: () => logger,
	...Object.fromEntries(
		['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map(level => [
			level,
			(fields, text) => {
				if (!trace) return
				const shown = fields instanceof Object ? JSON.stringify(fields, (_, v) => (v instanceof Error ? v.stack : v)) : fields
				process.stderr.write(`${level} ${text ?? ''} ${shown}\n`)
			}
		])
	)
}

const creds = initAuthCreds()
const keys = makeCacheableSignalKeyStore(memoryKeys(), logger)
// What was sent, for those who ask for it again; the keys of what came and of what was sent, for what is done to it.
const sent = new Map()
const known = new Map()
let socket
let leaving = false

// What a person would call the other side: digits behind a hidden id where they are known.
const person = key =>
	jidNormalizedUser([key.remoteJidAlt, key.remoteJid].find(jid => jid?.endsWith('@s.whatsapp.net')) ?? key.remoteJid)
const textOf = message => message?.conversation ?? message?.extendedTextMessage?.text
const kinds = { imageMessage: 'image', videoMessage: 'video', audioMessage: 'audio', documentMessage: 'document', stickerMessage: 'sticker' }

// The file of a message, fetched and decrypted, and what the message says of it.
const mediaOf = async message => {
	const field = Object.keys(kinds).find(field => message.message?.[field])
	if (!field) return undefined
	const said = message.message[field]
	// Else it asks the host that the message names, which is WhatsApp's own.
	await socket.refreshMediaConn()
	const bytes = await downloadMediaMessage(message, 'buffer', { host: socket.getMediaHost() })
	return {
		kind: kinds[field],
		mimetype: said.mimetype,
		size: bytes.length,
		sha256: createHash('sha256').update(bytes).digest('hex'),
		seconds: said.seconds,
		isVoice: said.ptt ?? false,
		hasThumbnail: (said.jpegThumbnail?.length ?? 0) > 0
	}
}

// The options that somebody chose in a poll that was sent here. Either address of a person may have gone into the key.
const chosen = (update, key) => {
	const poll = sent.get(update.pollCreationMessageKey.id)
	const [own, theirs] = [
		[creds.me.id, creds.me.lid],
		[key.remoteJid, key.remoteJidAlt]
	].map(jids => jids.filter(Boolean).map(jidNormalizedUser))
	const secret = { pollMsgId: update.pollCreationMessageKey.id, pollEncKey: poll.messageContextInfo.messageSecret }
	for (const pollCreatorJid of own) {
		for (const voterJid of theirs) {
			try {
				const vote = decryptPollVote(update.vote, { ...secret, pollCreatorJid, voterJid })
				const hashes = vote.selectedOptions.map(hash => Buffer.from(hash).toString('hex'))
				const poll3 = poll.pollCreationMessageV3 ?? poll.pollCreationMessage
				const names = poll3.options.map(option => option.optionName)
				return names.filter(name => hashes.includes(createHash('sha256').update(name).digest('hex')))
			} catch {
				// Another pair of addresses.
			}
		}
	}
	throw new Error('a vote cannot be read')
}

const connect = () => {
	socket = makeWASocket({
		waWebSocketUrl: url,
		auth: { creds, keys },
		pushName: name,
		version: [2, 3000, 1027934701],
		logger,
		markOnlineOnConnect: true,
		syncFullHistory: false,
		getMessage: async key => sent.get(key.id)
	})
	socket.ev.on('creds.update', update => Object.assign(creds, update))
	socket.ev.on('connection.update', onConnection)
	socket.ev.on('messages.upsert', ({ messages }) => {
		for (const message of messages) onMessage(message).catch(error => emit('error', { error: String(error.stack) }))
	})
	socket.ev.on('messages.reaction', reactions => {
		for (const { key, reaction } of reactions) emit('reaction', { id: key.id, text: reaction.text ?? '' })
	})
	socket.ev.on('messages.update', updates => {
		for (const { key, update } of updates) {
			if (update.status !== undefined) emit('receipt', { chat: person(key), id: key.id, status: update.status })
			const edited = update.message?.editedMessage?.message
			if (edited) emit('edited', { id: key.id, text: textOf(edited) })
			if (update.message === null) emit('revoked', { id: key.id })
		}
	})
	socket.ev.on('messaging-history.set', ({ chats, contacts, messages }) =>
		emit('history', { chats: chats.length, messages: messages.length, contacts: contacts.length })
	)
}

const onConnection = ({ connection, lastDisconnect, qr }) => {
	if (qr) emit('qr', { qr })
	if (connection === 'open') emit('open')
	if (connection !== 'close') return
	const code = lastDisconnect?.error?.output?.statusCode
	emit('close', { code })
	if (leaving) process.exit(0)
	if (code === DisconnectReason.restartRequired) connect()
}

const onMessage = async message => {
	const vote = message.message?.pollUpdateMessage
	if (vote && !message.key.fromMe) {
		emit('vote', { id: vote.pollCreationMessageKey.id, options: chosen(vote, message.key) })
		return
	}
	const media = await mediaOf(message)
	const text = textOf(message.message) ?? message.message?.imageMessage?.caption ?? message.message?.pollCreationMessageV3?.name
	if (!media && (text === undefined || text === null)) return
	known.set(message.key.id, message.key)
	// The library merges an early receipt into the message that it announces.
	if (message.key.fromMe && message.status > 2) {
		emit('receipt', { chat: person(message.key), id: message.key.id, status: message.status })
	}
	emit('message', { from: person(message.key), id: message.key.id, text, fromMe: message.key.fromMe ?? false, media })
}

const send = async (to, content) => {
	const message = await socket.sendMessage(to, content)
	sent.set(message.key.id, message.message)
	known.set(message.key.id, message.key)
	emit('sent', { id: message.key.id })
}

const keyOf = id => {
	if (!known.has(id)) throw new Error(`no message ${id} is known`)
	return known.get(id)
}

const commands = {
	code: async ({ number }) => emit('code', { code: await socket.requestPairingCode(number) }),
	send: async ({ to, text }) => send(to, { text }),
	image: async ({ to, path, caption }) => send(to, { image: { url: path }, caption }),
	voice: async ({ to, path, seconds }) =>
		send(to, { audio: { url: path }, ptt: true, mimetype: 'audio/ogg; codecs=opus', seconds }),
	poll: async ({ to, name, options }) => send(to, { poll: { name, values: options, selectableCount: 1 } }),
	react: async ({ id, text }) => send(keyOf(id).remoteJid, { react: { key: keyOf(id), text } }),
	edit: async ({ id, text }) => send(keyOf(id).remoteJid, { text, edit: keyOf(id) }),
	revoke: async ({ id }) => send(keyOf(id).remoteJid, { delete: keyOf(id) }),
	read: async ({ id }) => socket.readMessages([keyOf(id)]),
	typing: async ({ to, state }) => socket.sendPresenceUpdate(state, to),
	exists: async ({ number }) => {
		const found = await socket.onWhatsApp(number)
		emit('exists', { number, exists: found.some(one => one.exists) })
	},
	reconnect: async () => {
		await socket.end(undefined)
		connect()
	},
	quit: async () => {
		leaving = true
		await socket.end(undefined)
		process.exit(0)
	}
}

createInterface({ input: process.stdin })
	.on('line', async line => {
		if (!line.trim()) return
		let command
		try {
			command = JSON.parse(line)
			const run = commands[command.cmd]
			if (!run) throw new Error(`there is no command ${command.cmd}`)
			await run(command)
		} catch (error) {
			emit('error', { command: command?.cmd, error: String(error) })
		}
	})
	// Whoever started this process is gone.
	.on('close', () => process.exit(0))

connect()
