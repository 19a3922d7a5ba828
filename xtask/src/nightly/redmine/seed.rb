# A user with a key, a private project, and the field that an issue is found by again.
Setting.rest_api_enabled = '1'
Setting.default_language = 'en'

user = User.find_by_login('tidegate')
if user.nil?
  user = User.new(firstname: 'Tide', lastname: 'Gate', mail: 'tidegate@localhost.localdomain',
                  status: 1, language: 'en')
  user.login = 'tidegate'
  user.password = user.password_confirmation = SecureRandom.hex
  user.save!
end

project = Project.find_by_identifier('apisec') ||
          Project.create!(name: 'API security', identifier: 'apisec', is_public: false,
                          trackers: Tracker.all, enabled_module_names: ['issue_tracking'])
field = IssueCustomField.find_by_name('incident_key') ||
        IssueCustomField.create!(name: 'incident_key', field_format: 'string', is_for_all: true,
                                 is_filter: true, searchable: true, trackers: Tracker.all)
role = Role.givable.order(:position).first
Member.create!(project: project, user: user, roles: [role]) unless user.member_of?(project)

closed = IssueStatus.where(is_closed: true).order(:position).first
puts "KEY=#{user.api_key} PROJECT=#{project.identifier} FIELD=#{field.id} CLOSED=#{closed.id}"
