// An unmodified Baileys client that a test drives: events as JSON lines on stdout, commands as JSON lines on stdin.
//
//   node client.mjs --url ws://127.0.0.1:PORT/ws/chat --name NAME [--trace]
//
// Events:   qr {qr}, code {code} (to be entered on the phone), open {}, close {code} (no code when this side closed),
//           history {chats, messages, contacts} (how many of each; one event for each piece that the phone sends),
//           message {from, id, text, fromMe}, receipt {chat, id, status} (`WebMessageInfo.Status`),
//           exists {number, exists}, error {command, error}
// Commands: code {number} (once there is a QR code; links without scanning it); send {to, text}; read {id} (of a message event, whose other fields may come along);
//           typing {to, state} (composing or paused); exists {number}; reconnect; quit
// Credentials live in memory. After the pairing's restart (515) it reconnects by itself.

import { createInterface } from 'node:readline'
import makeWASocket, {
	BufferJSON,
	DisconnectReason,
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
// What was sent, for those who ask for it again; the keys of what came, for read receipts.
const sent = new Map()
const received = new Map()
let socket
let leaving = false

// What a person would call the other side: digits behind a hidden id where they are known.
const person = key =>
	jidNormalizedUser([key.remoteJidAlt, key.remoteJid].find(jid => jid?.endsWith('@s.whatsapp.net')) ?? key.remoteJid)
const textOf = message => message?.conversation ?? message?.extendedTextMessage?.text

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
		for (const message of messages) onMessage(message)
	})
	socket.ev.on('messages.update', updates => {
		for (const { key, update } of updates) {
			if (update.status !== undefined) emit('receipt', { chat: person(key), id: key.id, status: update.status })
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

const onMessage = message => {
	const text = textOf(message.message)
	if (text === undefined || text === null) return
	received.set(message.key.id, message.key)
	// The library merges an early receipt into the message that it announces.
	if (message.key.fromMe && message.status > 2) {
		emit('receipt', { chat: person(message.key), id: message.key.id, status: message.status })
	}
	emit('message', { from: person(message.key), id: message.key.id, text, fromMe: message.key.fromMe ?? false })
}

const commands = {
	code: async ({ number }) => emit('code', { code: await socket.requestPairingCode(number) }),
	send: async ({ to, text }) => {
		const message = await socket.sendMessage(to, { text })
		sent.set(message.key.id, message.message)
	},
	read: async ({ id }) => {
		if (!received.has(id)) throw new Error(`no message ${id} came`)
		await socket.readMessages([received.get(id)])
	},
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
