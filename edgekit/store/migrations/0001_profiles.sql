CREATE TABLE profiles (
    id INTEGER PRIMARY KEY,
    created TEXT NOT NULL,           -- UTC, ISO 8601
    session TEXT NOT NULL,           -- profiles measured interleaved share one
    package TEXT NOT NULL,
    manifest_sha256 TEXT NOT NULL,
    device TEXT NOT NULL,            -- JSON of DeviceInfo
    plan TEXT NOT NULL,              -- JSON of Plan
    command TEXT NOT NULL
);
CREATE INDEX profiles_by_package ON profiles (manifest_sha256);
CREATE TABLE launches (
    id INTEGER PRIMARY KEY,
    profile_id INTEGER NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,       -- when it ran within the session, 0 first
    data TEXT NOT NULL               -- JSON of Launch: every raw sample, in seconds
);
CREATE INDEX launches_by_profile ON launches (profile_id);
