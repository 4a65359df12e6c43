// The peer's public process: create, read and list tasks, and tell their owners when they end.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import express from 'express';
import jwt from 'jsonwebtoken';
import { Queue } from 'bullmq';
import { Sockets } from './sockets.js';
import { ENDED, JOBS, createTables, openDatabase, openRedis, settings } from './stack.js';

const TYPES = new Set(['fitting', 'photography', 'travel']);
const { port, secret, accounts } = settings();

const db = openDatabase();
await createTables(db, accounts);
const jobs = new Queue(JOBS, { connection: openRedis() });

const whoIs = (token) => {
  try {
    return jwt.verify(token, secret, { algorithms: ['HS256'] }).userId;
  } catch {
    return null;
  }
};

const refuse = (response, status, message) => response.status(status).json({ success: false, message });

function signedIn(request, response, next) {
  const owner = whoIs((request.headers.authorization ?? '').replace(/^Bearer /, ''));
  if (owner === null) return refuse(response, 401, 'Please sign in');
  request.owner = owner;
  return next();
}

const isOrder = ({ type, batch_count: count = 1, images }) =>
  TYPES.has(type) && Number.isInteger(count) && count >= 1 && count <= 50 && Array.isArray(images) && images.length > 0;

/** Take the credits and write the task, both or neither; false when the credits do not suffice. */
async function promise(taskId, owner, order, count) {
  const connection = await db.getConnection();
  try {
    await connection.beginTransaction();
    const [taken] = await connection.execute(
      'update account set credits = credits - ? where user_id = ? and credits >= ?',
      [count, owner, count],
    );
    if (taken.affectedRows === 0) {
      await connection.rollback();
      return false;
    }
    await connection.execute(
      'insert into task (task_id, user_id, type, batch_count, request) values (?, ?, ?, ?, ?)',
      [taskId, owner, order.type, count, JSON.stringify(order)],
    );
    await connection.commit();
    return true;
  } catch (error) {
    await connection.rollback();
    throw error;
  } finally {
    connection.release();
  }
}

async function create(request, response) {
  const order = request.body ?? {};
  if (!isOrder(order)) return refuse(response, 400, 'Invalid task');
  const count = order.batch_count ?? 1;
  const taskId = randomUUID();
  if (!(await promise(taskId, request.owner, order, count))) return refuse(response, 400, 'Insufficient credits');
  await jobs.add('generate', { taskId, owner: request.owner }, { removeOnComplete: true, removeOnFail: true });
  return response.json({
    success: true,
    data: { task_id: taskId, type: order.type, batch_count: count, status: 'pending', credits_deducted: count },
  });
}

async function list(request, response) {
  const [tasks] = await db.execute('select * from task where user_id = ? order by created_at desc limit 20', [request.owner]);
  return response.json({ success: true, data: { tasks } });
}

async function read(request, response) {
  const [[task]] = await db.execute('select * from task where task_id = ? and user_id = ?', [request.params.id, request.owner]);
  return task ? response.json({ success: true, data: { task } }) : refuse(response, 404, 'No such task');
}

const app = express();
app.disable('x-powered-by');
app.use(express.json());
app.get('/health', (_, response) => response.json({ status: 'healthy' }));
app.post('/api/tasks/create', signedIn, create);
app.get('/api/tasks/user/list', signedIn, list);
app.get('/api/tasks/:id', signedIn, read);
app.use((error, _request, response, _next) => refuse(response, error.status ?? 500, error.message));

const server = createServer(app);
const sockets = new Sockets(server, whoIs);
const ends = openRedis();
await ends.subscribe(ENDED);
ends.on('message', (_, text) => {
  const { owner, taskId, result } = JSON.parse(text);
  sockets.push(owner, { type: 'task_complete', task_id: taskId, result, timestamp: Date.now() });
});
server.listen(port, '127.0.0.1');
