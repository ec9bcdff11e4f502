-- the tables of revision 0001 as PostgreSQL has them, written by the Funcatron that made them
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	PRIMARY KEY (version_num)
);
CREATE TABLE bundles (
	sha VARCHAR(64) NOT NULL,
	kind VARCHAR(32) NOT NULL,
	name VARCHAR(100) NOT NULL,
	host VARCHAR(255),
	base_path TEXT NOT NULL,
	size BIGINT NOT NULL,
	title TEXT NOT NULL,
	version TEXT NOT NULL,
	operations JSON NOT NULL,
	created DOUBLE PRECISION NOT NULL,
	PRIMARY KEY (sha)
);
CREATE TABLE claims (
	host VARCHAR(255) NOT NULL,
	base_path VARCHAR(1024) NOT NULL,
	name VARCHAR(100) NOT NULL,
	PRIMARY KEY (host, base_path)
);
CREATE INDEX ix_claims_name ON claims (name);
CREATE TABLE draining (
	queue VARCHAR(255) NOT NULL,
	name VARCHAR(100) NOT NULL,
	sha VARCHAR(64) NOT NULL,
	since DOUBLE PRECISION NOT NULL,
	PRIMARY KEY (queue)
);
CREATE TABLE facts (
	name VARCHAR(64) NOT NULL,
	value JSON NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE history (
	id SERIAL NOT NULL,
	at DOUBLE PRECISION NOT NULL,
	name VARCHAR(100) NOT NULL,
	sha VARCHAR(64) NOT NULL,
	what VARCHAR(32) NOT NULL,
	outcome VARCHAR(32) NOT NULL,
	detail TEXT NOT NULL,
	PRIMARY KEY (id)
);
CREATE INDEX history_by_name ON history (name, id);
CREATE TABLE deployments (
	name VARCHAR(100) NOT NULL,
	sha VARCHAR(64) NOT NULL,
	host VARCHAR(255),
	base_path TEXT NOT NULL,
	props JSON NOT NULL,
	settings JSON NOT NULL,
	enabled BOOLEAN NOT NULL,
	serving JSON,
	stage VARCHAR(32) NOT NULL,
	stages JSON NOT NULL,
	error TEXT,
	created DOUBLE PRECISION NOT NULL,
	updated DOUBLE PRECISION NOT NULL,
	revision INTEGER NOT NULL,
	PRIMARY KEY (name),
	FOREIGN KEY(sha) REFERENCES bundles (sha)
);
