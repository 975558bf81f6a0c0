DROP TABLE user_grants;
DROP TABLE custom_role_holders;
DROP TABLE custom_roles;
DROP TABLE group_members;
DROP TABLE user_groups;
