// What both processes of the peer share: where the database and the queue are, and the tables.
import mysql from 'mysql2/promise';
import { Redis } from 'ioredis';

const required = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};

export const JOBS = 'generation';
export const ENDED = 'task-ended';

export const settings = () => ({
  port: Number(required('PEER_PORT')),
  secret: required('PEER_SECRET'),
  accounts: Number(required('PEER_ACCOUNTS')),
});

export const openDatabase = () => mysql.createPool({
  host: '127.0.0.1',
  port: Number(required('PEER_MYSQL_PORT')),
  user: 'peer',
  password: 'peer',
  database: 'peer',
  connectionLimit: 20,
});

export const openRedis = () => new Redis({
  host: '127.0.0.1',
  port: Number(required('PEER_REDIS_PORT')),
  maxRetriesPerRequest: null, // a blocking worker connection must wait, not give up
});

export async function createTables(db, accounts) {
  await db.query(`create table account (
    user_id bigint primary key,
    credits bigint not null
  ) engine = innodb`);
  await db.query(`create table task (
    task_id char(36) primary key,
    user_id bigint not null,
    type varchar(20) not null,
    batch_count int not null,
    status varchar(20) not null default 'pending',
    request text not null,
    result text,
    created_at timestamp(3) not null default now(3),
    updated_at timestamp(3) not null default now(3),
    key by_owner (user_id, created_at)
  ) engine = innodb`);
  const rich = Array.from({ length: accounts }, (_, id) => [id, 1_000_000_000]);
  await db.query('insert into account (user_id, credits) values ?', [rich]);
}
