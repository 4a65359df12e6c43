// One socket per open client: the first frame says who it is, ends of tasks are pushed to all sockets of their owner.
import { WebSocketServer } from 'ws';

export class Sockets {
  #byOwner = new Map();

  constructor(server, whoIs) {
    const door = new WebSocketServer({ server, path: '/ws', perMessageDeflate: false });
    door.on('connection', (socket) => {
      socket.on('message', (bytes) => this.#hear(socket, bytes, whoIs));
      socket.on('close', () => this.#byOwner.get(socket.owner)?.delete(socket));
      socket.on('error', () => socket.terminate());
    });
  }

  push(owner, frame) {
    const text = JSON.stringify(frame);
    for (const socket of this.#byOwner.get(owner) ?? []) socket.send(text);
  }

  #hear(socket, bytes, whoIs) {
    const frame = JSON.parse(bytes);
    if (frame.type === 'ping') {
      socket.send(JSON.stringify({ type: 'pong', timestamp: Date.now() }));
    } else if (frame.type === 'auth') {
      this.#admit(socket, frame.token, whoIs);
    }
  }

  #admit(socket, token, whoIs) {
    const owner = whoIs(token);
    if (owner === null) {
      socket.send(JSON.stringify({ type: 'error', message: 'Invalid token' }));
      socket.close();
      return;
    }
    socket.owner = owner;
    if (!this.#byOwner.has(owner)) this.#byOwner.set(owner, new Set());
    this.#byOwner.get(owner).add(socket);
    socket.send(JSON.stringify({ type: 'auth_success', message: 'Authenticated' }));
  }
}
